"""A model's life while readings flow: retrained, promoted, swapped in, rolled back, and what is refused on the way."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from cassandra.cluster import Session

from core.settings import Settings
from local_stack.servers.ports import free_ports
from models.registry.registry import CHAMPION, Registry, Version
from tests.faults.proving import twin_of
from tests.oracle.bad_artefacts import changed_in_the_store, registered_by_somebody
from tests.oracle.job import Job, api_of, clock_ms, copy_judging, env_of, make_schema, rows_of, stream_of, train
from tests.oracle.judging import stored_judging
from tests.oracle.ledger import Publisher, chunks
from tests.oracle.processes import Running, running, start
from tests.oracle.stream_input import Planned, Shape, plan

Identity = tuple[str, Any, int]
SHAPE = Shape(stations=20, ticks=1500, bad=0.0, duplicates=0.0, conflicts=0.0, late=0.0)
SECONDS = 300.0
FINAL = ("succeeded", "refused", "failed")
# Of the hour before: readings enough for a training, and a rest that flows while versions change.
FIRST = 20 * 900

pytestmark = [pytest.mark.timeout(1500), pytest.mark.slow]


class Mlflow:
    """A server in front of the versions that the test reads by its own door; killed, it comes back where it was.

    Args:
        settings: with the database of the versions.
    """

    def __init__(self, settings: Settings) -> None:
        """Nothing is started yet."""
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        server = ("-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1")
        self._arguments = (*server, "--backend-store-uri", settings.tracking_uri)
        self._log = settings.home / "mlflow-server.log"
        self._process: Running | None = None

    def start(self) -> None:
        """Return when it answers."""
        self._process = start("mlflow", self._arguments, {}, self._log)
        self._process.wait_until("answer", self._answers, 120)

    def close(self) -> None:
        """SIGKILL, if it runs."""
        if self._process is not None and self._process.family():
            self._process.kill()

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/health", timeout=5).ok
        except requests.RequestException:
            return False


class Life:
    """Everything that takes part.

    Args:
        job: the stream.
        url: of the API.
        mlflow: what stream and retrainer ask for versions.
        registry: the test's own door to the same.
        publisher: to the readings' topic.
        pieces: what is still to be sent.
    """

    def __init__(
        self, job: Job, url: str, mlflow: Mlflow, registry: Registry, publisher: Publisher, pieces: Iterator[Any]
    ) -> None:
        """Nothing is sent yet."""
        self.job, self.url, self.mlflow, self.registry = job, url, mlflow, registry
        self._publisher, self._pieces = publisher, pieces

    def file(self, path: str, **more: Any) -> str:
        """File a job; return where it can be looked at."""
        answer = requests.post(f"{self.url}{path}", timeout=30, **more)
        assert answer.status_code == 202, answer.text
        return f"{self.url}{answer.headers['Location']}"

    def ended(self, place: str) -> dict[str, Any]:
        """Wait for the end of a job, while readings flow."""
        self.flow_until(lambda: self.get(place)["state"] in FINAL, f"{place} ends")
        return self.get(place)

    def ask(self, path: str, **more: Any) -> dict[str, Any]:
        """File a job and wait for its end."""
        return self.ended(self.file(path, **more))

    def get(self, place: str) -> dict[str, Any]:
        """A document of the API."""
        return dict(requests.get(place, timeout=30).json())

    def flow_until(self, holds: Any, what: str) -> float:
        """Send a piece at a time until `holds()`; return the seconds it took."""
        began = time.monotonic()
        while not holds():
            assert time.monotonic() - began < SECONDS, f"not in {SECONDS} s: {what}\n{self.job.process.tail()}"
            for piece in itertools.islice(self._pieces, 1):
                self._publisher.publish(piece)
            time.sleep(0.2)
        return time.monotonic() - began

    def refusals(self, version: Version) -> list[str]:
        """Why the stream did not take a version, a reason for each time."""
        events = self.get(f"{self.url}/api/v1/models")["events"]
        mine = [event for event in events if event["kind"] == "refused" and event["version"] == str(version.number)]
        return [event["reason"] for event in mine]

    def metric(self, name: str) -> float:
        """A figure that the stream serves."""
        address = re.search(r"metrics: (\S+)", self.job.process.log.read_text())
        assert address is not None
        (value,) = re.findall(rf"^{name} (\S+)$", requests.get(address[1], timeout=30).text, re.MULTILINE)
        return float(value)

    def judged_by(self, version: int) -> bool:
        """Whether the newest stored reading of some partition is of this version."""
        newest: dict[int, tuple[int, int]] = {}
        for row in rows_of(self.job.session, self.job.settings, "readings"):
            place = row["kafka_offset"], row["model_version"]
            newest[row["kafka_partition"]] = max(newest.get(row["kafka_partition"], (-1, 0)), place)
        return any(found == version for _, found in newest.values())


@pytest.fixture
def life(proof_settings: Settings, session: Session, history: Path, tmp_path: Path) -> Iterator[Life]:
    """A stream that judged some minutes of readings by version 1; retrainer and API run."""
    settings = proof_settings.model_copy(
        update={"feature_samples_per_minute": 2000, "retrain_pause_seconds": 0.0, "drift_check_minutes": 1000.0}
    )
    make_schema(settings)
    train(settings, history, seed=1)
    planned: list[Planned] = plan(SHAPE, clock_ms())
    registry = Registry(settings.tracking_uri, settings.model_name)
    mlflow = Mlflow(settings)
    settings = settings.model_copy(update={"mlflow_tracking_uri": mlflow.url})
    log = settings.home / "retrainer.log"
    with (
        closing(mlflow),
        Publisher(settings.kafka_client_options(), settings.readings_topic, tmp_path / "ledger.jsonl") as publisher,
        stream_of(settings, session, "stream") as job,
        running("retrainer", ["-m", "models.retraining.retrainer"], env_of(settings), log),
        api_of(settings) as url,
    ):
        mlflow.start()
        publisher.publish(planned[:FIRST])
        job.start()
        job.wait_until_drained()
        yield Life(job, url, mlflow, registry, publisher, iter(list(chunks(planned[FIRST:], 600))))


def test_a_challenger_earns_its_place_judges_and_goes_again(life: Life, session: Session, tmp_path: Path) -> None:
    """Breaks when a swap needs a restart, rows do not say who judged, a bad artefact is used, or none returns."""
    trained = life.ask("/api/v1/jobs", json={"kind": "retrain"})
    assert trained["state"] == "succeeded", trained
    models = life.get(f"{life.url}/api/v1/models")
    assert (models["champion"], models["challenger"], models["judges"]) == ("1", "2", ["1"])
    watch_the_shadow(life, session)

    assert life.ask("/api/v1/models/2:promote")["state"] == "succeeded"
    print(f"promoted to first row: {life.flow_until(lambda: life.judged_by(2), 'version 2 judges'):.1f} s")
    assert life.get(f"{life.url}/api/v1/models")["judges"] == ["2"]
    roll_back_after_an_outage(life)
    life.flow_until(lambda: life.judged_by(1), "version 1 judges again")

    refuse_what_is_no_version(life, tmp_path / "unpickled")
    life.job.wait_until_drained()
    life.job.stop()
    found = versions_of(session, life.job.settings)
    assert set(found.values()) == {1, 2}
    judging = stored_judging(session, life.job.settings)
    for row in rows_of(session, life.job.settings, "readings"):
        assert row["model_version"] == judging.version_of(row["kafka_partition"], row["kafka_offset"]), row
    replay_without_mlflow(life, session, found)


def watch_the_shadow(life: Life, session: Session) -> None:
    """A challenger judges some readings beside the champion, is compared with it, and leaves no verdict anywhere."""

    def shadow() -> dict[str, Any]:
        return life.get(f"{life.url}/api/v1/models")["shadow"] or {"compared": 0}

    life.flow_until(lambda: shadow()["compared"] >= 100, "a hundred readings are judged by both")
    found = shadow()
    assert (found["champion"], found["challenger"]) == ("1", "2")
    assert 0 <= found["to_flagged"] + found["to_normal"] <= found["compared"]
    for table in ("readings", "anomalies_by_time"):
        assert {row["model_version"] for row in rows_of(session, life.job.settings, table)} == {1}, table


def roll_back_after_an_outage(life: Life) -> None:
    """MLflow dies: readings are judged on, and what is asked of the retrainer is done once it is back."""
    life.mlflow.close()
    stored, failures = life.job.stored(), life.metric("iot_model_swap_failures_total")
    place = life.file("/api/v1/models/previous:rollback")
    life.flow_until(lambda: "cannot look for a champion" in life.job.process.tail(1000), "the stream asks in vain")
    life.flow_until(lambda: life.job.stored() >= stored + 500, "readings are stored without MLflow")
    assert life.judged_by(2) and life.get(place)["state"] not in FINAL
    assert life.metric("iot_model_swap_failures_total") == failures, "nobody to ask is no bad version"
    life.mlflow.start()
    job = life.ended(place)
    assert (job["state"], job["attempts"]) == ("succeeded", 1), job


def refuse_what_is_no_version(life: Life, sentinel: Path) -> None:
    """Whatever somebody puts behind the alias, past the retrainer: the stream refuses it once, says why and goes on."""
    good = life.registry.fetch(life.registry.version(2))
    registered = registered_by_somebody(good, sentinel)
    refused = [(kind, life.registry.register(data, {}, {}, {}), why) for kind, (data, why) in registered.items()]
    for kind, data in changed_in_the_store(good, sentinel).items():
        made = life.registry.register(good, {}, {}, {})
        next((life.job.settings.home / "mlflow").rglob(f"{made.run_id}/**/detector.zip")).write_bytes(data)
        refused.append((kind, made, "was not opened"))
    for kind, version, why in refused:
        life.registry.set_alias(CHAMPION, version)
        life.flow_until(lambda version=version: life.refusals(version), f"the refusal of {kind} is written down")
        (reason,) = life.refusals(version)
        assert why in reason, kind
    assert life.metric("iot_model_swap_failures_total") == len(refused)
    assert life.judged_by(1) and not any(life.judged_by(version.number) for _, version, _ in refused)
    assert not sentinel.exists()


def replay_without_mlflow(life: Life, session: Session, found: dict[Identity, int]) -> None:
    """The topic from its oldest offset, on another checkpoint, with MLflow away from the start to the end."""
    settings = life.job.settings
    twin = twin_of(settings).model_copy(update={"mlflow_tracking_uri": "http://127.0.0.1:9"})
    copy_judging(settings, twin.cassandra_keyspace)
    with stream_of(twin, session, "replay") as job:
        job.start()
        job.wait_until_drained()
        job.process.wait_until("it asks in vain", lambda: "cannot look for a champion" in job.process.tail(1000), 60)
        job.stop()
    assert versions_of(session, twin) == found


def versions_of(session: Session, settings: Settings) -> dict[Identity, int]:
    """Who judged each stored reading."""
    rows = rows_of(session, settings, "readings")
    return {(row["station_id"], row["event_time"], row["seq"]): row["model_version"] for row in rows}
