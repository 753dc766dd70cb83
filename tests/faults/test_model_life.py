"""A model's life while readings flow: retrained, promoted, swapped in, rolled back, and what is refused on the way."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from cassandra.cluster import Session

from models.lifecycle.registry import CHAMPION, Registry
from settings import Settings
from tests.oracle.job import Job, api_of, clock_ms, env_of, make_schema, rows_of, stream_of, train
from tests.oracle.ledger import Publisher, chunks
from tests.oracle.processes import running
from tests.oracle.stream_input import Planned, Shape, plan

SHAPE = Shape(stations=20, ticks=1100, bad=0.0, duplicates=0.0, conflicts=0.0, late=0.0)
SECONDS = 300.0
# Of the hour before: readings enough for a training, and a rest that flows while versions change.
FIRST = 20 * 900

pytestmark = [pytest.mark.timeout(1500), pytest.mark.slow]


class Life:
    """Everything that takes part.

    Args:
        job: the stream.
        url: of the API.
        registry: the test's own door to MLflow.
        publisher: to the readings' topic.
        pieces: what is still to be sent.
    """

    def __init__(self, job: Job, url: str, registry: Registry, publisher: Publisher, pieces: Iterator[Any]) -> None:
        """Nothing is sent yet."""
        self.job, self.url, self.registry = job, url, registry
        self._publisher, self._pieces = publisher, pieces

    def ask(self, path: str, **more: Any) -> dict[str, Any]:
        """File a job and wait for its end, while readings flow."""
        answer = requests.post(f"{self.url}{path}", timeout=30, **more)
        assert answer.status_code == 202, answer.text
        place = f"{self.url}{answer.headers['Location']}"
        self.flow_until(lambda: self.get(place)["state"] not in ("queued", "running"), f"{path} ends")
        return self.get(place)

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
    log = settings.home / "retrainer.log"
    with (
        Publisher(settings.kafka_client_options(), settings.readings_topic, tmp_path / "ledger.jsonl") as publisher,
        stream_of(settings, session, "stream") as job,
        running("retrainer", ["-m", "models.lifecycle.retrainer"], env_of(settings), log),
        api_of(settings) as url,
    ):
        publisher.publish(planned[:FIRST])
        job.start()
        job.wait_until_drained()
        registry = Registry(settings.tracking_uri, settings.model_name)
        yield Life(job, url, registry, publisher, iter(list(chunks(planned[FIRST:], 200))))
        job.stop()


def test_a_challenger_earns_its_place_judges_and_goes_again(life: Life) -> None:
    """Breaks when a swap needs a restart, rows do not say who judged, a bad artefact is used, or none returns."""
    trained = life.ask("/api/v1/jobs", json={"kind": "retrain"})
    assert trained["state"] == "succeeded", trained
    models = life.get(f"{life.url}/api/v1/models")
    assert (models["champion"], models["challenger"], models["judges"]) == ("1", "2", ["1"])

    assert life.ask("/api/v1/models/2:promote")["state"] == "succeeded"
    print(f"promoted to first row: {life.flow_until(lambda: life.judged_by(2), 'version 2 judges'):.1f} s")
    assert life.get(f"{life.url}/api/v1/models")["judges"] == ["2"]
    assert life.ask("/api/v1/models/previous:rollback")["state"] == "succeeded"
    life.flow_until(lambda: life.judged_by(1), "version 1 judges again")

    refuse_a_tampered_champion(life)
    life.job.wait_until_drained()
    versions: dict[tuple[str, Any, int], set[int]] = {}
    for row in rows_of(life.job.session, life.job.settings, "readings"):
        versions.setdefault((row["station_id"], row["event_time"], row["seq"]), set()).add(row["model_version"])
    assert all(len(found) == 1 for found in versions.values())
    assert {version for found in versions.values() for version in found} == {1, 2}


def refuse_a_tampered_champion(life: Life) -> None:
    """Somebody flips a byte of version 2 and moves the alias past the retrainer: the stream refuses and says why."""
    folder = life.job.settings.home / "mlflow"
    made = life.registry.register(life.registry.fetch(life.registry.version(2)), {}, {}, {})
    file = next(folder.rglob(f"{made.run_id}/**/detector.zip"))
    data = file.read_bytes()
    file.write_bytes(data[:4000] + bytes([data[4000] ^ 1]) + data[4001:])
    life.registry.set_alias(CHAMPION, made)

    def refused() -> bool:
        events = life.get(f"{life.url}/api/v1/models")["events"]
        return any(event["kind"] == "refused" and event["version"] == str(made.number) for event in events)

    life.flow_until(refused, "the refusal is written down")
    assert life.judged_by(1) and not life.judged_by(made.number)
