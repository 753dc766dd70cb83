"""The retrainer as a process, on a real Cassandra and a real MLflow, asked through the API."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.app import create_app, store_handle
from local_stack.stack import Stack, endpoints_settings
from models.lifecycle.job_work import JOB_TAG, JobWork
from models.lifecycle.mirror import mirror
from models.lifecycle.registry import CHAMPION, Registry
from models.lifecycle.retrainer import now_ms
from models.lifecycle.train import register
from settings import Settings
from storage import jobs
from storage.jobs import claim
from storage.model_events import Maintenance, put_maintenance
from storage.schema import apply_schema, read_migrations
from storage.session import Store, StoreConfig, connect
from tests.life import BUDGET, TREES, lived, store_life
from tests.oracle.job import env_of
from tests.oracle.processes import Running, start

pytestmark = pytest.mark.timeout(600)

JOB_SECONDS = 240.0


class Plant:
    """A plant with stored days, a champion, an API, and retrainers of its own.

    Args:
        settings: of all of them.
        store: the test's own door.
        client: the API.
    """

    def __init__(self, settings: Settings, store: Store, client: FlaskClient) -> None:
        """No retrainer runs yet."""
        self.settings, self.store, self.client = settings, store, client
        self.registry = Registry(settings.tracking_uri, settings.model_name)
        self._retrainers: list[Running] = []

    def retrainer(self) -> Running:
        """Start one."""
        name = f"retrainer-{len(self._retrainers)}"
        log = self.settings.home / f"{name}.log"
        self._retrainers.append(start(name, ["-m", "models.lifecycle.retrainer"], env_of(self.settings), log))
        return self._retrainers[-1]

    def stop(self) -> None:
        """End those that live."""
        for process in self._retrainers:
            if process.family():
                process.kill()
        self._retrainers = []

    def job(self, place: str) -> dict[str, Any]:
        """A job as the API shows it."""
        return dict(self.client.get(place).get_json())

    def over(self, place: str) -> dict[str, Any]:
        """Wait for the end of a job."""
        self.until(lambda: self.job(place)["state"] not in ("queued", "running"), f"{place} ends")
        return self.job(place)

    def until(self, holds: Any, what: str) -> None:
        """Wait until `holds()`."""
        deadline = time.monotonic() + JOB_SECONDS
        while not holds():
            logs = "".join(process.tail() for process in self._retrainers)
            assert time.monotonic() < deadline, f"not in {JOB_SECONDS} s: {what}\n{logs}"
            time.sleep(0.1)


@pytest.fixture(scope="module")
def plant(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """Stored days of ten stations; version 1 is champion."""
    mine = Settings(
        _env_file=None,
        home=tmp_path_factory.mktemp("home"),
        cassandra_keyspace=f"test_{uuid.uuid4().hex[:10]}",
        forest_trees=TREES,
        false_alarm_budget=BUDGET,
        retrain_window_hours=96,
        retrain_pause_seconds=0,
        retrainer_metrics_port=0,
        api_requests_per_minute=0,
        drift_check_minutes=1000,
    )
    mine = endpoints_settings(mine, stack.endpoints())
    config = StoreConfig.from_settings(mine)
    apply_schema(config, read_migrations(), now_ms())
    store = connect(config)
    life = lived(now_ms())
    store_life(store, life)
    handle = store_handle(mine)
    handle.start()
    found = Plant(mine, store, create_app(mine, handle).test_client())
    register(found.registry, life.first, alias=CHAMPION)
    mirror(found.registry, store, now_ms())
    found.until(lambda: found.client.get("/api/v1/models").status_code == 200, "the API reaches Cassandra")
    try:
        yield found
    finally:
        found.stop()
        handle.close()
        store.close()


@pytest.fixture(autouse=True)
def _nothing_runs_on(plant: Plant) -> Iterator[None]:
    yield
    plant.stop()


def test_fifty_requests_and_a_killed_retrainer_make_one_challenger(plant: Plant) -> None:
    """Breaks when two trainings run, or a kill -9 in the middle loses the job or leaves two versions."""
    with ThreadPoolExecutor(50) as pool:
        app = plant.client.application
        answers = list(pool.map(lambda _: app.test_client().post("/api/v1/jobs", json={"kind": "retrain"}), range(50)))
    (place,) = {answer.headers["Location"] for answer in answers}
    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 49
    refused = next(answer for answer in answers if answer.status_code == 409).get_json()
    assert place.endswith(refused["job_id"])

    first = plant.retrainer()
    plant.until(lambda: plant.job(place)["progress"]["fraction"] >= 0.3, "it fits")
    first.kill()
    assert plant.job(place)["state"] == "running"
    plant.retrainer()
    job = plant.over(place)
    assert (job["state"], job["attempts"]) == ("succeeded", 2), job
    assert plant.registry.aliases() == {"champion": 1, "challenger": 2}
    assert [version.number for version in plant.registry.versions()] == [2, 1]

    shown = plant.client.get("/api/v1/models").get_json()
    assert (shown["champion"], shown["challenger"], shown["previous"]) == ("1", "2", None)
    made = shown["versions"][0]
    assert made["passed"] and {gate["name"]: gate["passed"] for gate in made["gates"]} == {
        "features": True, "sanity": True, "false_alarms": True, "recall": True, "cost": True,
    }  # fmt: skip
    assert int(made["params"]["samples_used"]) > 1000
    assert float(made["params"]["largest_station_share"]) <= 0.31
    assert made["metrics"]["gate.recall.spike"] >= made["metrics"]["gate.recall.champion_spike"] - 0.05
    assert [event["kind"] for event in shown["events"]] == ["gated", "trained"]


def test_promote_and_roll_back(plant: Plant) -> None:
    """Breaks when an alias moves without gates, a rollback takes more than one call, or no row says why."""
    plant.retrainer()
    unknown = plant.client.post("/api/v1/models/99:promote")
    assert unknown.status_code == 404
    refused = plant.over(plant.client.post("/api/v1/models/1:promote").headers["Location"])
    assert refused["state"] == "succeeded" and plant.registry.aliases()[CHAMPION] == 1, "it is champion already"
    done = plant.over(plant.client.post("/api/v1/models/2:promote").headers["Location"])
    assert (done["state"], done["result"]["champion"]) == ("succeeded", 1)
    assert plant.registry.aliases() == {"champion": 2, "previous": 1}
    back = plant.over(plant.client.post("/api/v1/models/previous:rollback").headers["Location"])
    assert back["state"] == "succeeded"
    assert plant.registry.aliases() == {"champion": 1, "previous": 2}
    shown = plant.client.get("/api/v1/models").get_json()
    assert (shown["champion"], shown["previous"]) == ("1", "2")
    kinds = [event["kind"] for event in shown["events"]]
    assert kinds[:2] == ["rolled_back", "promoted"]
    assert "anybody" in shown["events"][0]["reason"] or "admin" in shown["events"][0]["reason"]


def test_an_ungated_version_is_not_promoted_and_a_tampered_one_never(plant: Plant) -> None:
    """Breaks when a version becomes champion past the gates, or one whose bytes were changed after they were hashed."""
    plant.retrainer()
    data = plant.registry.fetch(plant.registry.version(2))
    ungated = plant.registry.register(data, {}, {}, {})
    mirror(plant.registry, plant.store, now_ms())
    job = plant.over(plant.client.post(f"/api/v1/models/{ungated.number}:promote").headers["Location"])
    assert job["state"] == "refused" and "was never asked by the gates" in job["reason"]

    file = next(Path(plant.settings.home / "mlflow").rglob(f"{plant.registry.version(2).run_id}/**/detector.zip"))
    whole = file.read_bytes()
    file.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    job = plant.over(plant.client.post("/api/v1/models/2:promote").headers["Location"])
    file.write_bytes(whole)
    assert job["state"] == "refused" and "was not opened" in job["reason"]
    assert plant.registry.aliases()[CHAMPION] == 1
    event = plant.client.get("/api/v1/models").get_json()["events"][0]
    assert (event["kind"], event["job_id"]) == ("refused", job["id"])


def test_a_death_between_registering_and_the_alias_leaves_one_version(plant: Plant) -> None:
    """Breaks when a retry registers again, or a version that was not decided upon can be used."""
    place = plant.client.post("/api/v1/jobs", json={"kind": "retrain"}).headers["Location"]

    class Died(Exception):  # noqa: N818
        pass

    def dying(step: str, fraction: float) -> None:
        if step == "stores the decision":
            raise Died

    def told(step: str, fraction: float) -> None:
        jobs.tell(plant.store, plant.settings.model_name, job.job_id, "test", step, fraction)

    job = claim(plant.store, plant.settings.model_name, "test", 600, now_ms())
    assert job is not None and place.endswith(job.job_id)
    before = plant.registry.aliases()
    work = (plant.store, plant.registry, plant.settings, job)
    with pytest.raises(Died):
        JobWork(*work, dying, now_ms).do()
    made = plant.registry.tagged(JOB_TAG, job.job_id)
    assert made is not None and plant.registry.aliases() == before
    mirror(plant.registry, plant.store, now_ms())
    versions = len(plant.registry.versions())
    ended = JobWork(*work, told, now_ms).do()
    assert (ended.state, ended.result["version"]) == ("succeeded", made.number)
    assert len(plant.registry.versions()) == versions
    jobs.end(plant.store, plant.settings.model_name, job, "test", ended.state, ended.reason, now_ms=now_ms())


def test_what_must_not_be_learnt_is_left_out_and_counted(plant: Plant) -> None:
    """Breaks when maintenance is learnt, or a training begins without the series that thresholds need."""
    put_maintenance(plant.store, plant.settings.model_name, Maintenance("s0", 0, 2**43, "belt changed"))
    work = _work(plant, plant.settings)
    given = work._training_set()
    assert given.excluded["maintenance"] == 1440
    assert "s0" not in given.samples.station_ids and "s0" not in given.series.station_ids
    none = _work(plant, plant.settings.model_copy(update={"readings_kept": "none"})).do()
    assert none.state == "refused" and "READINGS_KEPT is none" in none.reason


def _work(plant: Plant, settings: Settings) -> JobWork:
    job = jobs.jobs(plant.store, settings.model_name)[0]._replace(kind=jobs.RETRAIN, filed_ms=now_ms())
    return JobWork(plant.store, plant.registry, settings, job, lambda step, fraction: None, now_ms)
