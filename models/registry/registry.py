"""The only door to MLflow: versions of the registered model, their aliases and their bytes.

A version is an MLflow run with one artefact folder: `model/detector.zip`, which is what stationwatch loads, and beside
it an MLflow model of the forest alone, for people and their notebooks. The version carries the artefact's sha256 as a
tag and is created last, so that a crash leaves a run at most; moving an alias is what commits.
"""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from core.errors import ArtefactRefused, NotFound, RegistryUnavailable, StationwatchError
from models.registry.mlflow_model import write_mlflow_model
from models.scoring.artefact import sha256_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
SHA256_TAG = "sha256"
_FOLDER, _FILE = "model", "detector.zip"
_SQLITE = "sqlite:///"
# Read by MLflow at use. Its own loaders then refuse pickles; a server that is away is noticed in seconds, not minutes.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Else it logs in local time and in a format of its own, whatever this process has set up.
    "MLFLOW_CONFIGURE_LOGGING": "false",
}


@dataclass(frozen=True)
class Version:
    """A registered version.

    Args:
        number: as MLflow counts, from 1.
        run_id: the run that holds its bytes.
        sha256: of its artefact; empty when somebody registered it past stationwatch.
    """

    number: int
    run_id: str
    sha256: str


@dataclass(frozen=True)
class Details:
    """What the registry knows of a version beside its bytes.

    Args:
        created_ms: ms since the epoch.
        tags: of the version.
        params: of its run.
        metrics: of its run.
    """

    created_ms: int
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]


class Registry:
    """The versions of one registered model.

    Opening a sqlite registry for the first time makes its tables, which takes some seconds.

    Args:
        tracking_uri: `sqlite:///PATH`, whose folder is made and keeps the artefacts too, or the URL of a server.
        model_name: the registered model.
        login: user and password of the server, where it asks for them.

    Raises:
        RegistryUnavailable: it cannot be reached or opened; every method may raise it.
        StationwatchError: a file store, which MLflow no longer keeps.
    """

    def __init__(self, tracking_uri: str, model_name: str, login: tuple[str, str] | None = None) -> None:
        if tracking_uri.startswith("file:") or "://" not in tracking_uri:
            raise StationwatchError(
                f"MLFLOW_TRACKING_URI {tracking_uri!r} is a file store, which MLflow gave up; "
                f"use {_SQLITE}PATH or the URL of a server"
            )
        self.tracking_uri, self.model_name = tracking_uri, model_name
        self._artifacts = _local_artifacts(tracking_uri)
        with self._errors("open the registry"):
            self._client = _client(tracking_uri, login)

    def register(
        self,
        artefact: bytes,
        params: Mapping[str, str | int | float],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        figures: Mapping[str, bytes] | None = None,
    ) -> Version:
        """Log a run with the artefact and make it a version. Registering the same again gives another version.

        Args:
            artefact: from `artefact.pack`.
            params: of the run.
            metrics: of the run.
            tags: of the run and of the version.
            figures: file name → content, kept below `figures/`.

        Raises:
            ArtefactRefused: not an artefact.
        """
        sha256 = sha256_of(artefact)
        with self._errors("register a version"), tempfile.TemporaryDirectory() as folder:
            write_mlflow_model(Path(folder), artefact)
            (Path(folder) / _FILE).write_bytes(artefact)
            with self._run(sha256) as run:
                run_id = run.info.run_id
                self._log(run_id, params, metrics, tags)
                self._client.log_artifacts(run_id, folder, _FOLDER)
                self._log_figures(run_id, figures or {})
            self._make_model()
            made = self._client.create_model_version(
                self.model_name, f"{run.info.artifact_uri}/{_FOLDER}", run_id, {**tags, SHA256_TAG: sha256}
            )
        return Version(int(made.version), run_id, sha256)

    def champion(self) -> Version | None:
        """Return the version that judges, None when there is none."""
        return self.aliased(CHAMPION)

    def challenger(self) -> Version | None:
        """Return the version that wants to judge, None when there is none."""
        return self.aliased(CHALLENGER)

    def aliased(self, alias: str) -> Version | None:
        """Return the version an alias points to, None when the alias or the model does not exist."""
        try:
            with self._errors(f"look up {alias}"):
                number = self._client.get_registered_model(self.model_name).aliases.get(alias)
        except NotFound:
            return None
        return None if number is None else self.version(int(number))

    def set_alias(self, alias: str, version: Version) -> None:
        """Let the alias point to the version; readers see the old or this one, never none.

        Raises:
            NotFound: no such version.
        """
        with self._errors(f"set {alias} to version {version.number}"):
            self._client.set_registered_model_alias(self.model_name, alias, str(version.number))

    def drop_alias(self, alias: str) -> None:
        """Take the alias away; harmless when it is not set."""
        with suppress(NotFound), self._errors(f"drop {alias}"):
            self._client.delete_registered_model_alias(self.model_name, alias)

    def version(self, number: int) -> Version:
        """Return a version by its number.

        Raises:
            NotFound: no such version.
        """
        with self._errors(f"look up version {number}"):
            return _version(self._client.get_model_version(self.model_name, str(number)))

    def versions(self) -> list[Version]:
        """Return all versions, newest first."""
        with self._errors("list the versions"):
            found: list[ModelVersion] = []
            token = None
            while True:
                page = self._client.search_model_versions(f"name = '{self.model_name}'", page_token=token)
                found += page
                token = page.token
                if not token:
                    return sorted(map(_version, found), key=lambda version: -version.number)

    def aliases(self) -> dict[str, int]:
        """Return the version each alias points to; none before the first version."""
        try:
            with self._errors("list the aliases"):
                found = self._client.get_registered_model(self.model_name).aliases
        except NotFound:
            return {}
        return {alias: int(number) for alias, number in found.items()}

    def details(self, number: int) -> Details:
        """Return what is known of a version.

        Raises:
            NotFound: no such version, or its run is gone.
        """
        with self._errors(f"look up version {number}"):
            found = self._client.get_model_version(self.model_name, str(number))
            data = self._client.get_run(str(found.run_id)).data
        return Details(int(found.creation_timestamp), dict(found.tags or {}), dict(data.params), dict(data.metrics))

    def tagged(self, tag: str, value: str) -> Version | None:
        """Return the newest version with this tag, None when there is none."""
        with self._errors(f"look up {tag} {value}"):
            found = self._client.search_model_versions(f"name = '{self.model_name}'")
            named = [_version(one) for one in found if (one.tags or {}).get(tag) == value]
        return max(named, key=lambda version: version.number, default=None)

    def fetch(self, version: Version) -> bytes:
        """Return the version's artefact, verified against its tag but not opened.

        Raises:
            ArtefactRefused: other bytes than were registered, or a version without a sha256.
            NotFound: its bytes are gone.
        """
        if not version.sha256:
            raise ArtefactRefused(f"{self._name(version)} has no {SHA256_TAG} tag: stationwatch did not register it")
        with self._errors(f"fetch version {version.number}"), tempfile.TemporaryDirectory() as folder:
            data = Path(self._client.download_artifacts(version.run_id, f"{_FOLDER}/{_FILE}", folder)).read_bytes()
        if sha256_of(data) != version.sha256:
            raise ArtefactRefused(
                f"the artefact of {self._name(version)} has sha256 {sha256_of(data)}, registered was {version.sha256}: "
                "it was changed in the artefact store, and was not opened"
            )
        return data

    def _name(self, version: Version) -> str:
        return f"{self.model_name} version {version.number}"

    def _make_model(self) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(self.model_name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        try:
            return str(self._client.create_experiment(self.model_name, self._artifacts))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        known = self._client.get_experiment_by_name(self.model_name)
        if known is None:
            raise NotFound(f"experiment {self.model_name} was there a moment ago and is not any more")
        return str(known.experiment_id)

    @contextmanager
    def _run(self, sha256: str) -> Iterator[Run]:
        """A run that ends FAILED unless all that belongs to it was logged."""
        run = self._client.create_run(self._experiment(), run_name=f"{self.model_name} {sha256[:12]}")
        status = "FAILED"
        try:
            yield run
            status = "FINISHED"
        finally:
            self._client.set_terminated(run.info.run_id, status)

    def _log(
        self, run_id: str, params: Mapping[str, Any], metrics: Mapping[str, float], tags: Mapping[str, str]
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        now_ms = int(time.time() * 1000)
        self._client.log_batch(
            run_id,
            [Metric(name, float(value), now_ms, 0) for name, value in metrics.items()],
            [Param(name, str(value)) for name, value in params.items()],
            [RunTag(name, value) for name, value in tags.items()],
        )

    def _log_figures(self, run_id: str, figures: Mapping[str, bytes]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for name, content in figures.items():
                (Path(folder) / Path(name).name).write_bytes(content)
            if figures:
                self._client.log_artifacts(run_id, folder, "figures")

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """Turn what MLflow, its database and its artefact store raise into stationwatch's errors."""
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        where = f"the MLflow registry {_without_password(self.tracking_uri)}"
        try:
            yield
        except FileNotFoundError as error:
            raise NotFound(f"could not {doing}: {where} has lost a file: {error}") from error
        except (SQLAlchemyError, OSError) as error:
            raise RegistryUnavailable(f"could not {doing}: {where} does not answer: {self._shown(error)}") from error
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                raise NotFound(f"could not {doing}: {error.message}") from error
            if error.error_code in _REFUSALS:
                raise StationwatchError(f"could not {doing}: {where} refused: {self._shown(error)}") from error
            raise RegistryUnavailable(f"could not {doing}: {where} does not answer: {self._shown(error)}") from error

    def _shown(self, error: Exception) -> str:
        # MLflow adds pages of SQL and links to pages about it, and repeats the URL.
        return str(error).replace(self.tracking_uri, _without_password(self.tracking_uri)).partition("\n")[0][:300]


_REFUSALS = {"INVALID_PARAMETER_VALUE", "PERMISSION_DENIED", "UNAUTHENTICATED", "INVALID_STATE"}


def _without_password(uri: str) -> str:
    parts = urlsplit(uri)
    return uri.replace(f":{parts.password}@", ":***@") if parts.password else uri


def _version(found: ModelVersion) -> Version:
    return Version(int(found.version), found.run_id or "", (found.tags or {}).get(SHA256_TAG, ""))


def _local_artifacts(tracking_uri: str) -> str | None:
    """Return where a sqlite registry keeps artefacts: beside the database, whose folder is made. None for a server."""
    if not tracking_uri.startswith(_SQLITE):
        return None
    folder = Path(tracking_uri.removeprefix(_SQLITE)).resolve().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RegistryUnavailable(f"the folder of the MLflow registry {tracking_uri}: {error}") from error
    return (folder / "artifacts").as_uri()


def _client(tracking_uri: str, login: tuple[str, str] | None) -> MlflowClient:
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if login:
        # MLflow's clients take it from nowhere else; at each request.
        os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"] = login
    from mlflow import MlflowClient

    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with _alone(tracking_uri):
        return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


@contextmanager
def _alone(tracking_uri: str) -> Iterator[None]:
    """Let one process at a time open a sqlite registry: two that make its tables at once break each other."""
    if not tracking_uri.startswith(_SQLITE):
        yield
        return
    with Path(f"{tracking_uri.removeprefix(_SQLITE)}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
