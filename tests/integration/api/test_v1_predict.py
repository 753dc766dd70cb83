"""Judging beside the stream, with a real model from a real Cassandra."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from flask.testing import FlaskClient

from api.http.opaque_ids import anomaly_id
from core.sensors import DEFAULT_SENSORS
from core.settings import Settings
from models.explanation.verdict_document import verdict_documents
from models.scoring.artefact import LoadedArtefact, load, sha256_of
from models.scoring.feature_block import pack_row
from models.scoring.shard_state import Incoming, ShardState
from models.training.train_steps import fit
from storage.driver.session import Store
from storage.tables.anomalies import AnomalyRow, write_anomalies
from storage.tables.artefacts import put_artefact, put_version
from storage.tables.statistics import StatisticsRow, write_statistics
from storage.tables.stream_progress import StreamIdentity, activate, claim_identity
from tests.integration.api_plant import NOW_MS, anomaly_row, application
from tests.keyspaces import Keyspaces
from tests.unit.models.histories import make_history

pytestmark = pytest.mark.timeout(300)
STATION = "station-0001"
USUAL = {"temperature": 20.0, "humidity": 20.0, "noise": 20.0}
ODD = {**USUAL, "temperature": 90.0}


@pytest.fixture(scope="module")
def champion(store: Store, plant: Settings) -> LoadedArtefact:
    """Version 2 judges the stream; version 1 did before, version 3 is registered and not in use."""
    rng = np.random.default_rng(3)
    training = fit(make_history(rng), DEFAULT_SENSORS, trees=30, budget=1.0, seed=3)
    sha256 = put_artefact(store, "detector", training.artefact)
    for version in (1, 2, 3):
        put_version(store, plant.model_name, version, sha256, f"run-{version}", NOW_MS)
    prior = put_artefact(store, "prior", training.prior.to_bytes())
    claim_identity(store, StreamIdentity(plant.readings_topic, "[]", 32, 1.0, prior, NOW_MS))
    activate(store, plant.readings_topic, {0: 0, 1: 0}, 1, NOW_MS)
    activate(store, plant.readings_topic, {0: 500, 1: 510}, 2, NOW_MS)
    return load(training.artefact, sha256_of(training.artefact))


@pytest.fixture(scope="module")
def warm(store: Store, champion: LoadedArtefact) -> ShardState:
    """A station that was watched for 2,000 readings around 50 degrees."""
    rng = np.random.default_rng(4)
    state = ShardState(DEFAULT_SENSORS, champion.prior)
    times = NOW_MS - 1000 * np.arange(2000, 0, -1)
    values = np.round(rng.normal([50.0, 20.0, 20.0], 0.5, (2000, 3)), 1)
    state.take(Incoming([STATION] * 2000, times, times, np.arange(2000), values))
    write_statistics(store, [StatisticsRow(STATION, state.to_bytes(), int(times[-1]))])
    return state


def judged(api: FlaskClient, document: dict[str, Any]) -> list[dict[str, Any]]:
    answer = api.post("/api/v1/predict", json=document)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    assert answer.get_json()["model"] == {"name": "station-detector", "version": "2"}
    return list(answer.get_json()["verdicts"])


def test_one_and_a_batch_are_judged_alike(api: FlaskClient, champion: LoadedArtefact) -> None:
    """Breaks when a reading's verdict depends on its neighbours in the batch, or an odd one passes."""
    (usual,) = judged(api, USUAL)
    (odd,) = judged(api, {**ODD, "seq": 7, "station_id": "x"})
    batch = judged(api, {"readings": [USUAL, ODD] * 500})
    assert len(batch) == 1000
    names = ("score", "is_anomaly", "severity", "sensors", "witnesses")
    assert [{name: one[name] for name in names} for one in batch[:2]] == [
        {name: one[name] for name in names} for one in (usual, odd)
    ]
    assert batch[:2] == batch[-2:]
    assert (odd["seq"], odd["station_id"]) == (7, "x")
    assert odd["score"] > usual["score"]
    assert odd["rules"] == ["implausible"]
    assert judged(api, {**USUAL, "temperature": None})[0]["sensors"][0]["actual"] is None


def test_its_own_statistics_judge_a_station_otherwise(api: FlaskClient, warm: ShardState) -> None:
    """Breaks when "own" does not use what the stream knows of the station, or a question changes it."""
    at_home = {"temperature": 50.0, "humidity": 20.0, "noise": 20.0}
    (own,) = judged(api, {**at_home, "context": "own", "station_id": STATION})
    (unknown,) = judged(api, {**at_home, "station_id": STATION})
    assert own["state"] == "stable"
    assert unknown["state"] == "warming_up"
    assert not own["is_anomaly"]
    typical = next(sensor["typical"] for sensor in own["sensors"] if sensor["name"] == "temperature")
    assert abs(typical - 50.0) < 1.0
    batch = judged(api, {"context": "own", "readings": [{**one, "station_id": STATION} for one in (ODD, at_home)]})
    assert batch[0]["is_anomaly"]
    assert batch[1]["score"] == own["score"], "each is judged by itself"
    answer = api.post("/api/v1/predict", json={**USUAL, "context": "own", "station_id": "nobody"})
    assert (answer.status_code, answer.get_json()["type"].rpartition(":")[2]) == (404, "no-statistics")


def test_the_reference_route_judges_without_context(api: FlaskClient, champion: LoadedArtefact) -> None:
    """Breaks when the shape of the reference, or its verdict, differs from what /predict says of the same values."""
    sent = {"humidity": 20, "noise_level": 20.0, "temperature": 90.0}
    answer = api.post("/api/predict", json=sent)
    assert answer.get_json() == {
        "is_anomaly": judged(api, ODD)[0]["is_anomaly"],
        "features": sent,
        "model_version": "2",
    }
    assert answer.headers["Deprecation"].startswith("@")
    assert api.post("/api/predict", json={**sent, "noise": 5}).status_code == 422
    assert api.post("/api/predict", json={"humidity": 20}).status_code == 422


def test_the_reference_route_files_a_retraining_and_one_at_a_time(api: FlaskClient) -> None:
    """Breaks when the reference's clients cannot ask for a retraining any more, or two of them get two."""
    filed = api.post("/api/check_drift_retrain")
    assert filed.status_code == 202
    assert api.get(filed.headers["Location"]).get_json()["kind"] == "retrain"
    again = api.post("/api/check_drift_retrain")
    assert again.status_code == 409
    assert filed.headers["Location"].rpartition("/")[2] in again.get_json()["detail"]


def stored_odd_one(champion: LoadedArtefact, warm: ShardState) -> AnomalyRow:
    """What the stream would store of an odd reading of the warm station."""
    state = ShardState.from_bytes(warm.to_bytes(), DEFAULT_SENSORS, champion.prior)
    one = np.array([NOW_MS], np.int64)
    blocks = state.take(Incoming([STATION], one, one, one, np.array([[90.0, 20.0, 20.0]]))).blocks
    verdicts = champion.detector.judge(blocks)
    (document,) = verdict_documents(champion.detector, blocks, verdicts, DEFAULT_SENSORS)
    return anomaly_row(
        STATION, NOW_MS, 1, float(verdicts.severity[0]), score=float(verdicts.score[0]), flags=int(verdicts.flags[0]),
        verdict=document.decode(), block=pack_row(blocks, 0), model_version=1,
    )  # fmt: skip


def test_a_replay_gives_the_stored_verdict_and_says_when_it_does_not(
    api: FlaskClient, store: Store, champion: LoadedArtefact, warm: ShardState
) -> None:
    """Breaks when a verdict cannot be computed again from what is stored, or a changed score goes unnoticed."""
    row = stored_odd_one(champion, warm)
    changed = row._replace(seq=2, score=row.score + 0.01)
    lost = row._replace(seq=3, model_version=77)
    other = row._replace(seq=4, block=b"\x09" + (row.block or b"")[1:])
    write_anomalies(store, [row, changed, lost, other])
    answers = [api.get(f"/api/v1/anomalies/{anomaly_id(*one[:3])}/replay") for one in (row, changed, lost, other)]
    assert [answer.status_code for answer in answers] == [200, 200, 409, 409]
    found = answers[0].get_json()
    assert found["equal"] is True
    assert found["stored"] == found["recomputed"]
    assert found["model"]["version"] == "1"
    assert answers[1].get_json()["equal"] is False
    shown = api.get(f"/api/v1/anomalies/{anomaly_id(*row[:3])}").get_json()
    assert shown["witnesses"] == msgspec.json.decode(row.verdict)["witnesses"]


def test_an_anomaly_is_explained_on_request(
    api: FlaskClient, store: Store, champion: LoadedArtefact, warm: ShardState
) -> None:
    """Breaks when exact shares do not come from the stored block, or a lost version is an error of the server."""
    row = stored_odd_one(champion, warm)._replace(seq=7)
    lost = row._replace(seq=8, model_version=77)
    write_anomalies(store, [row, lost])
    path = f"/api/v1/anomalies/{anomaly_id(*row[:3])}"
    found = api.get(f"{path}?explain=shap").get_json()
    assert [one["name"] for one in found["shap"]] == ["temperature", "humidity", "noise"]
    assert max(found["shap"], key=lambda one: one["value"])["value"] > 1.0
    change = found["smallest_change"]
    assert change["sensor"] == "temperature" and change["normal"] < change["actual"] == 90.0
    assert found["cause"]["hint"] and found["cause"]["evidence"] and found["action"]["text"]
    assert 0.0 <= found["p_value"] < 0.02
    assert "shap" not in api.get(path).get_json()
    assert api.get(f"/api/v1/anomalies/{anomaly_id(*lost[:3])}?explain=shap").status_code == 409


def test_without_a_model_there_is_no_verdict(keyspaces: Keyspaces, tmp_path: Path) -> None:
    """Breaks when an API that has no model yet answers with an error of its own."""
    with keyspaces.lent(home=tmp_path) as settings, application(settings) as app:
        answer = app.test_client().post("/api/v1/predict", json=USUAL)
    assert (answer.status_code, answer.get_json()["type"].rpartition(":")[2]) == (503, "no-model")
    assert int(answer.headers["Retry-After"]) > 0
