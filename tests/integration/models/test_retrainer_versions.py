"""What a retraining makes of what people said, what is told of a version, and what becomes of one that is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from api.http.opaque_ids import anomaly_id
from core.sensors import DEFAULT_SENSORS
from core.verdict import Flag
from models.drift.reference import reference_of
from models.retraining.challenger_training import LIBRARIES
from models.retraining.retrainer import now_ms
from models.scoring.artefact import LoadedArtefact, load, sha256_of
from models.scoring.feature_block import COMMON, PER_SENSOR, SENSOR_WIDTH, WITNESSES, Blocks, pack_row
from models.scoring.feature_samples import Samples
from models.training.sample_window import read_window
from storage.tables.anomalies import write_anomalies
from tests.integration.api_plant import anomaly_row
from tests.integration.models.retrainer_plant import Plant, plant_in
from tests.keyspaces import Keyspaces
from tests.life import DAY_MS, TREES

NAMES = tuple(sensor.name for sensor in DEFAULT_SENSORS)
# A machine that starts: the noise jumps and stays up for a while.
BENIGN = {("noise", "innovation"): 2.0, ("noise", "band_12"): 3.0}

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def plant(keyspaces: Keyspaces, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """People have said nothing yet."""
    with plant_in(tmp_path_factory.mktemp("home"), keyspaces) as found:
        yield found


@pytest.fixture(autouse=True)
def _nothing_runs_on(plant: Plant) -> Iterator[None]:
    yield
    plant.stop()


def test_what_people_said_is_what_the_next_version_has_learnt(plant: Plant) -> None:
    """Breaks when a confirmed false alarm fires again, a confirmed anomaly is learnt, or more than that is exempt."""
    stored = read_window(plant.store, NAMES, now_ms() - 4 * DAY_MS, now_ms()).samples
    benign, anomaly = (of_station(stored, name) for name in ("s3", "s4"))
    # Two mornings of three alarms.
    benign = benign.take(np.array([200, 202, 204, 900, 902, 904]))
    alike = benign_looks(benign.blocks, np.array([1.0, 1.02, 1.04, 1.0, 1.03, 1.05]))
    say(plant, replace(benign, blocks=alike), "false_positive")
    say(plant, anomaly.take(np.array([300])), "true_positive")

    plant.retrainer()
    job = plant.over(plant.file("/api/v1/jobs", json={"kind": "retrain"}).headers["Location"])
    assert (job["state"], job["result"]["version"]) == ("succeeded", 2), job
    params = plant.registry.details(2).params
    assert int(params["exemptions"]) >= 1 and json.loads(params["excluded"])["marked_by_people"] == 1

    first, second = (opened(plant, number).detector for number in (1, 2))
    again, stronger = (benign_looks(benign.blocks.take(np.arange(1)), np.array([factor])) for factor in (1.03, 4.0))
    assert first.judge(again, ["s3"]).is_anomaly.all()
    assert not second.judge(again, ["s3"]).is_anomaly.any()
    assert (second.judge(again, ["s3"]).flags & Flag.EXEMPT).all()
    assert second.judge(again, ["s5"]).is_anomaly.all() and second.judge(stronger, ["s3"]).is_anomaly.all()


def test_the_run_says_what_a_version_was_made_of(plant: Plant) -> None:
    """Breaks when nobody can tell later what a version was learnt from, by which software, or how it looked."""
    made, details = plant.registry.version(2), plant.registry.details(2)
    assert set(details.params) >= {
        "window_start", "window_end", "samples_read", "samples_used", "series_readings", "excluded", "trees",
        "prior_sha256", "python", *(f"version.{name}" for name in LIBRARIES),
    }  # fmt: skip
    gates = {"features", "sanity", "false_alarms", "recall", "cost"}
    assert set(details.metrics) >= {"forest_threshold", *(f"gate.{name}" for name in gates)}
    (run,) = (plant.settings.home / "mlflow").rglob(made.run_id)
    plots = {file.name: file.read_bytes()[:4] for file in run.rglob("figures/*")}
    assert plots == dict.fromkeys(["drift_per_feature.png", "projection.png", "score_distribution.png"], b"\x89PNG")
    reference = reference_of(opened(plant, 2).reference)
    assert reference is not None and len(reference.rows) > 1000


def test_a_version_that_fails_a_gate_is_told_of_and_never_used(plant: Plant) -> None:
    """Breaks when a gate only warns, when a refused version can be promoted, or nobody can read what it failed at."""
    before = plant.registry.aliases()
    plant.retrainer(forest_trees=20 * TREES)
    job = plant.over(plant.file("/api/v1/jobs", json={"kind": "retrain"}).headers["Location"])
    assert (job["state"], job["result"]["passed"]) == ("refused", False), job
    assert plant.registry.aliases() == before
    shown = plant.client.get("/api/v1/models").get_json()
    made = next(one for one in shown["versions"] if one["version"] == str(job["result"]["version"]))
    assert (made["passed"], made["aliases"]) == (False, [])
    cost = next(gate for gate in made["gates"] if gate["name"] == "cost")
    assert not cost["passed"] and cost["reason"] in job["reason"]
    assert cost["figures"] and shown["events"][0]["kind"] == "gated"
    asked = plant.over(plant.file(f"/api/v1/models/{made['version']}:promote").headers["Location"])
    assert asked["state"] == "refused" and "did not pass the gates" in asked["reason"]
    assert plant.registry.aliases() == before


def of_station(samples: Samples, name: str) -> Samples:
    """Its calm readings in order of time."""
    mine = samples.take(np.array(samples.station_ids) == name)
    return mine.take(np.argsort(mine.event_ms, kind="stable"))


def benign_looks(blocks: Blocks, factors: np.ndarray) -> Blocks:
    """The readings with nothing unusual but the benign mode, so many times as strong."""
    rows = blocks.rows.copy()
    for sensor in range(len(NAMES)):
        for place, witness in enumerate(WITNESSES):
            ratio = BENIGN.get((NAMES[sensor], witness), 0.1)
            column = len(COMMON) + len(PER_SENSOR) + sensor * SENSOR_WIDTH + 2 * place
            rows[:, column] = ratio * (factors if ratio > 1.0 else 1.0)
    return Blocks(blocks.sensors, rows)


def say(plant: Plant, samples: Samples, verdict: str) -> None:
    """The readings are stored as anomalies, and a person speaks about each."""
    rows = [
        anomaly_row(name, event_ms, at, block=pack_row(samples.blocks, at), flags=int(Flag.ANOMALY))
        for at, (name, event_ms) in enumerate(zip(samples.station_ids, samples.event_ms.tolist(), strict=True))
    ]
    write_anomalies(plant.store, rows)
    for row in rows:
        answer = plant.file(f"/api/v1/anomalies/{anomaly_id(*row[:3])}/feedback", json={"verdict": verdict})
        assert answer.status_code == 201, answer.text


def opened(plant: Plant, number: int) -> LoadedArtefact:
    """A version as the stream opens it."""
    data = plant.registry.fetch(plant.registry.version(number))
    assert sha256_of(data) == plant.registry.version(number).sha256
    return load(data, sha256_of(data))
