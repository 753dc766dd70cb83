"""The retrainer as a process, on a real Cassandra and a real MLflow, asked through the API."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.settings import Settings
from models.registry.registry import CHAMPION
from models.registry.registry_mirror import mirror
from models.retraining.job_runner import JOB_TAG, JobWork
from models.retraining.retrainer import now_ms
from storage.tables import jobs
from storage.tables.jobs import claim
from storage.tables.model_events import Maintenance, put_maintenance
from tests.integration.models.retrainer_plant import Plant, plant_in
from tests.keyspaces import Keyspaces

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def plant(keyspaces: Keyspaces, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """Nobody has retrained yet."""
    with plant_in(tmp_path_factory.mktemp("home"), keyspaces) as found:
        yield found


@pytest.fixture(autouse=True)
def _nothing_runs_on(plant: Plant) -> Iterator[None]:
    yield
    plant.stop()


def test_fifty_requests_and_a_killed_retrainer_make_one_challenger(plant: Plant) -> None:
    """Breaks when two trainings run, or a kill -9 in the middle loses the job or leaves two versions."""
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: plant.file("/api/v1/jobs", json={"kind": "retrain"}), range(50)))
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
    unknown = plant.file("/api/v1/models/99:promote")
    assert unknown.status_code == 404
    refused = plant.over(plant.file("/api/v1/models/1:promote").headers["Location"])
    assert refused["state"] == "succeeded" and plant.registry.aliases()[CHAMPION] == 1, "it is champion already"
    done = plant.over(plant.file("/api/v1/models/2:promote").headers["Location"])
    assert (done["state"], done["result"]["champion"]) == ("succeeded", 1)
    assert plant.registry.aliases() == {"champion": 2, "previous": 1}
    back = plant.over(plant.file("/api/v1/models/previous:rollback").headers["Location"])
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
    job = plant.over(plant.file(f"/api/v1/models/{ungated.number}:promote").headers["Location"])
    assert job["state"] == "refused" and "was never asked by the gates" in job["reason"]

    file = next(Path(plant.settings.home / "mlflow").rglob(f"{plant.registry.version(2).run_id}/**/detector.zip"))
    whole = file.read_bytes()
    file.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    job = plant.over(plant.file("/api/v1/models/2:promote").headers["Location"])
    file.write_bytes(whole)
    assert job["state"] == "refused" and "was not opened" in job["reason"]
    assert plant.registry.aliases()[CHAMPION] == 1
    event = plant.client.get("/api/v1/models").get_json()["events"][0]
    assert (event["kind"], event["job_id"]) == ("refused", job["id"])


def test_a_death_between_registering_and_the_alias_leaves_one_version(plant: Plant) -> None:
    """Breaks when a retry registers again, or a version that was not decided upon can be used."""
    place = plant.file("/api/v1/jobs", json={"kind": "retrain"}).headers["Location"]

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
