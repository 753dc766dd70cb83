"""The registry on a real sqlite MLflow: versions are whole or absent, and their bytes are what was registered."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from core.errors import ArtefactRefused, NotFound, RegistryUnavailable, StationwatchError
from core.sensors import DEFAULT_SENSORS
from models.registry.registry import CHALLENGER, CHAMPION, Registry, Version
from models.scoring.artefact import load, sha256_of
from models.scoring.features import FEATURES
from models.training.train_steps import Training, fit, register
from tests.unit.models.histories import make_history


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def uri(home: Path) -> str:
    return f"sqlite:///{home}/deeper/mlflow.db"


@pytest.fixture
def registry(uri: str, request: pytest.FixtureRequest) -> Iterator[Registry]:
    """A registered model of the test's own in one database, whose making takes seconds."""
    yield Registry(uri, request.node.name.replace("[", "-").rstrip("]"))


@pytest.fixture(scope="module")
def training() -> Training:
    history = make_history(np.random.default_rng(1), stations=3, readings=200)
    return fit(history, DEFAULT_SENSORS, trees=10, budget=1.0, seed=7)


def stored_file(home: Path, version: Version) -> Path:
    return next(path for path in home.rglob("detector.zip") if version.run_id in str(path))


def test_empty_registry_has_no_champion(registry: Registry) -> None:
    """Breaks when a first start ends in an error instead of a training."""
    assert registry.champion() is None
    assert registry.challenger() is None
    assert registry.versions() == []


def test_registered_version_comes_back(registry: Registry, training: Training) -> None:
    """Breaks when bytes, identity, parameters or figures get lost on the way."""
    version = register(registry, training, tags={"why": "first"})
    assert version == Version(1, version.run_id, sha256_of(training.artefact))
    assert registry.versions() == [version] and registry.version(1) == version
    assert registry.champion() is None
    assert load(registry.fetch(version), version.sha256).detector.spec == training.spec
    run = registry._client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["readings"] == "600" and run.data.params["trees"] == "10"
    assert run.data.metrics["forest_threshold"] == pytest.approx(training.spec.forest_threshold)
    assert run.data.tags["why"] == "first"


def test_aliases_move_between_versions(registry: Registry, training: Training) -> None:
    """Breaks when an alias does not follow, or one drags the other along."""
    first = register(registry, training, alias=CHAMPION)
    second = register(registry, training, alias=CHALLENGER)
    assert (registry.champion(), registry.challenger()) == (first, second)
    registry.set_alias(CHAMPION, second)
    registry.drop_alias(CHALLENGER)
    registry.drop_alias(CHALLENGER)
    assert (registry.champion(), registry.challenger()) == (second, None)
    assert registry.versions() == [second, first]


def test_changed_artefact_is_refused(registry: Registry, training: Training, home: Path) -> None:
    """Breaks when bytes changed in the artefact store are handed on."""
    version = register(registry, training, alias=CHAMPION)
    path = stored_file(home, version)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ArtefactRefused, match="was not opened"):
        registry.fetch(version)
    path.unlink()
    with pytest.raises((NotFound, RegistryUnavailable)):
        registry.fetch(version)


def test_version_registered_past_stationwatch_is_refused(registry: Registry) -> None:
    """Breaks when a version without a hash, such as a pickle from a notebook, is loaded on trust."""
    client = registry._client
    client.create_registered_model(registry.model_name)
    made = client.create_model_version(registry.model_name, "file:///nowhere", None)
    client.set_registered_model_alias(registry.model_name, CHAMPION, made.version)
    champion = registry.champion()
    assert champion == Version(1, "", "")
    with pytest.raises(ArtefactRefused, match="no sha256 tag"):
        registry.fetch(champion)


@pytest.mark.parametrize("step", ["log_batch", "log_artifacts", "create_model_version"])
def test_crash_while_registering_leaves_no_version(
    registry: Registry, training: Training, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Breaks when a version appears before all that belongs to it is stored."""

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(registry._client, step, crash)
        with pytest.raises(KeyboardInterrupt):
            register(registry, training, alias=CHAMPION)
    assert registry.versions() == [] and registry.champion() is None
    assert register(registry, training, alias=CHAMPION) == registry.champion()


def test_something_else_than_an_artefact_is_not_registered(registry: Registry) -> None:
    """Breaks when any bytes can become a version."""
    with pytest.raises(ArtefactRefused):
        registry.register(b"\x80\x04pickle", {}, {}, {})
    assert registry.versions() == []


def test_unknown_version_is_not_found(registry: Registry, training: Training) -> None:
    """Breaks when a missing version counts as an outage and is retried for ever."""
    with pytest.raises(NotFound):
        registry.version(7)
    register(registry, training)
    with pytest.raises(NotFound):
        registry.set_alias(CHAMPION, Version(7, "", ""))


def test_unreachable_registries_are_retryable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when an outage is not told from a mistake, or takes minutes to notice."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RegistryUnavailable, match="does not answer"):
        Registry("http://127.0.0.1:9", "m").champion()
    (tmp_path / "mlflow.db").write_bytes(b"no database " * 100)
    with pytest.raises(RegistryUnavailable) as caught:
        Registry(f"sqlite:///{tmp_path}/mlflow.db", "m")
    assert "\n" not in str(caught.value)
    (tmp_path / "file").touch()
    with pytest.raises(RegistryUnavailable):
        Registry(f"sqlite:///{tmp_path}/file/mlflow.db", "m")


def test_password_of_a_server_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when a log line gives the registry's password away."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RegistryUnavailable) as caught:
        Registry("http://user:hunter2@127.0.0.1:9", "m").champion()
    assert "hunter2" not in str(caught.value)


def test_a_server_gets_the_login_and_a_refusal_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when a server that asks for a password gets none, or the refusal shows it."""
    asked: list[str | None] = []

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802 - the library's name
            asked.append(self.headers["Authorization"])
            self.send_error(401)

        def log_message(self, *_: object) -> None:
            """Silent."""

    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "0")
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises((StationwatchError, RegistryUnavailable)) as caught:
            Registry(f"http://127.0.0.1:{server.server_port}", "m", ("plant", "hunter2")).champion()
        server.shutdown()
    assert asked[0] == "Basic " + base64.b64encode(b"plant:hunter2").decode()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("uri", ["mlruns", "file:///tmp/mlruns"])
def test_file_store_is_refused(uri: str) -> None:
    """Breaks when MLflow falls back to ./mlruns."""
    with pytest.raises(StationwatchError, match="file store"):
        Registry(uri, "m")


def test_nothing_is_written_to_the_working_folder(
    registry: Registry, training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks when artefacts land in ./mlruns or ./mlartifacts."""
    monkeypatch.chdir(tmp_path)
    registry.fetch(register(registry, training))
    assert list(tmp_path.iterdir()) == []


def test_pickles_are_switched_off_for_mlflow_itself(registry: Registry) -> None:
    """Breaks when MLflow's own loaders would still unpickle."""
    assert registry.champion() is None
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"


def test_a_data_scientist_can_load_the_forest(
    registry: Registry, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks when the version is no MLflow model that a notebook loads, with feature names."""
    import mlflow

    version = register(registry, training)
    # MLflow counts its own skops loader among those that this variable forbids.
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", registry.tracking_uri)
    monkeypatch.setattr("mlflow.tracking._model_registry.utils._registry_uri", registry.tracking_uri, raising=False)
    forest = mlflow.sklearn.load_model(f"models:/{registry.model_name}/{version.number}")
    assert tuple(forest.feature_names_in_) == FEATURES
