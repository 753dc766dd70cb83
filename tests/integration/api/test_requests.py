"""What the API answers from the real Cassandra, as an application with a stopped clock."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

import numpy as np
import pytest
from flask.testing import FlaskClient

from api.app import create_app, store_handle
from api.services.context import wall_clock_ms
from core.settings import Settings
from local_stack.servers.stack import Stack
from storage.driver.migrations import apply_schema, read_migrations
from storage.driver.session import Store, StoreConfig, connect
from storage.tables import artefacts
from storage.tables.anomalies import AnomalyRow, write_anomalies
from storage.tables.stations import StationRow, write_stations
from storage.tables.stream_progress import heartbeat, mark_complete
from tests.integration.api_plant import application
from tests.keyspaces import Keyspaces
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

NOW_MS = wall_clock_ms()
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
SCRIPT = "<script>alert(1)</script> & 41.2 °C"


@pytest.fixture(scope="module")
def plant(keyspaces: Keyspaces, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a keyspace with empty tables, shared by this module."""
    with keyspaces.lent(home=tmp_path_factory.mktemp("home")) as mine:
        yield mine


@pytest.fixture(scope="module")
def store(plant: Settings) -> Iterator[Store]:
    """A store to put rows in."""
    opened = connect(StoreConfig.from_settings(plant))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def anomalies(store: Store) -> list[AnomalyRow]:
    """Some thousand anomalies over 12 days, bursts of one minute among them, up to 5 minutes ahead of the clock."""
    rng = np.random.default_rng(5)
    times = np.concatenate(
        [
            NOW_MS - rng.integers(0, 12 * DAY_MS, 2500),
            NOW_MS - 3 * HOUR_MS + rng.integers(0, 60_000, 1200),
            NOW_MS + rng.integers(0, 300_001, 40),
            [NOW_MS + 300_000, NOW_MS - HOUR_MS, NOW_MS - HOUR_MS - 1, NOW_MS - 7 * DAY_MS],
        ]
    )
    rows = [_anomaly(int(at), number, f"station-{int(rng.integers(0, 40)):04d}") for number, at in enumerate(times)]
    write_anomalies(store, rows)
    artefacts.put_version(
        store, "station-detector", 3, artefacts.put_artefact(store, "detector", b"x"), "run-3", NOW_MS
    )
    return rows


@pytest.fixture
def api(plant: Settings) -> Iterator[FlaskClient]:
    """The application on the real store, its clock stopped."""
    with application(plant, lambda: NOW_MS) as app:
        yield app.test_client()


def _anomaly(event_ms: int, seq: int, station: str) -> AnomalyRow:
    verdict = json.dumps({"explanation": SCRIPT})
    version = 3 if seq % 2 else 99
    return AnomalyRow(
        station,
        event_ms,
        seq,
        {"temperature": 41.2},
        1.9,
        82.4,
        1,
        verdict,
        seq,
        b"b",
        version,
        0,
        seq,
        event_ms,
        NOW_MS,
        NOW_MS,
    )


@pytest.mark.parametrize("limit", [1, 10, 40, 41, 700, 1000])
def test_latest_is_newest_first_across_hours(api: FlaskClient, anomalies: list[AnomalyRow], limit: int) -> None:
    """Breaks when an hour or a slot is skipped, the order is wrong at an hour's edge, or the limit is off."""
    found = api.get(f"/api/latest_anomalies?limit={limit}").get_json()
    newest = sorted(anomalies, key=lambda row: -row.event_ms)[:limit]
    assert len(found) == limit
    assert [_ms(row["record_time"]) for row in found] == [row.event_ms for row in newest]
    assert all(row["mlflow_id"] in ("run-3", None) for row in found)


def test_latest_has_the_references_shape_and_its_defaults(api: FlaskClient, anomalies: list[AnomalyRow]) -> None:
    """Breaks when the default is not 10, a field goes astray, or the run of a version is not found."""
    answer = api.get("/api/latest_anomalies")
    found = answer.get_json()
    assert len(found) == 10
    assert {tuple(row) for row in found} == {
        ("station_id", "record_time", "humidity", "noise_level", "temperature", "is_outlier", "mlflow_id")
    }
    assert {row["mlflow_id"] for row in api.get("/api/latest_anomalies?limit=1000").get_json()} == {"run-3", None}
    assert (found[0]["temperature"], found[0]["humidity"], found[0]["is_outlier"]) == (41.2, None, True)
    assert answer.headers["Deprecation"].startswith("@")


@pytest.mark.parametrize("text", ["1ms", "5m", "1h", "3h", "2h59m", "24h", "7d", "1w1ms", "30d", "90d"])
def test_count_equals_brute_force(api: FlaskClient, anomalies: list[AnomalyRow], text: str) -> None:
    """Breaks when a partition or a boundary is counted twice or not, or those ahead of the clock are left out."""
    lengths = {"1ms": 1, "5m": 300_000, "1h": HOUR_MS, "3h": 3 * HOUR_MS, "2h59m": 179 * 60_000, "24h": DAY_MS}
    lengths |= {"7d": 7 * DAY_MS, "1w1ms": 7 * DAY_MS + 1, "30d": 30 * DAY_MS, "90d": 90 * DAY_MS}
    expected = sum(NOW_MS - lengths[text] <= row.event_ms for row in anomalies)
    assert api.get(f"/api/outliers_count?time_range={text}").get_json() == {
        "time_range": text,
        "outliers_count": expected,
    }


def test_an_empty_plant_is_no_error(stack: Stack, plant: Settings, store: Store) -> None:
    """Breaks when no anomaly at all is answered by an error: this keyspace's tables are there and empty."""
    empty = plant.model_copy(update={"cassandra_keyspace": f"test_{uuid.uuid4().hex[:10]}"})
    handle = store_handle(empty)
    handle.start()
    try:
        api = create_app(empty, handle).test_client()
        assert api.get("/api/latest_anomalies").status_code == 503, "the keyspace is not there yet"
        apply_schema(StoreConfig.from_settings(empty), read_migrations(), NOW_MS)
        wait_until(lambda: api.get("/api/latest_anomalies").status_code == 200, "the API finds the keyspace")
        assert api.get("/api/latest_anomalies").get_json() == []
        assert api.get("/api/outliers_count?time_range=90d").get_json()["outliers_count"] == 0
        page = api.get("/").get_data(as_text=True)
        assert "has not started yet" in page
        assert "No anomaly is stored yet" in page
    finally:
        handle.close()


def test_readiness_and_the_page_know_a_stale_stream(
    api: FlaskClient, plant: Settings, store: Store, anomalies: list[AnomalyRow]
) -> None:
    """Breaks when blind is shown as quiet, a station's values go astray, or a stored text is run as HTML."""
    write_stations(
        store,
        [
            StationRow("station-0001", NOW_MS, NOW_MS - 2000, 9000, 1.0, {"temperature": 21.44, "noise": 61.0}, {}),
            StationRow("station-0002", NOW_MS, NOW_MS - 600_000, 9000, 1.0, {"temperature": 20.0}, {}),
        ],
    )
    assert {"name": "stream", "ok": False, "detail": "the stream has never given a sign"} in api.get(
        "/readyz?verbose"
    ).get_json()["checks"]

    heartbeat(store, plant.readings_topic, NOW_MS - 4000)
    ready = api.get("/readyz?verbose")
    assert (ready.status_code, ready.get_json()["status"]) == (200, "ready")
    assert [check["name"] for check in ready.get_json()["checks"]] == ["store", "model", "stream"]
    mark_complete(store, plant.readings_topic, {0: 10_000}, 3)
    page = api.get("/").get_data(as_text=True)
    assert '<span id="pill-text">Watching</span>' in page
    assert "21.4 °C" in page
    silent, normal = _tile("silent", "station-0002"), _tile("normal", "station-0001")
    assert page.index(silent) < page.index(normal), "silent ones first"
    assert "critical 82" in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page

    heartbeat(store, plant.readings_topic, NOW_MS - 31_000)
    assert api.get("/readyz").status_code == 503
    handle = store_handle(plant)
    handle.start()
    try:
        # An application of its own: within a second all viewers are shown the same look.
        stale = create_app(plant, handle, lambda: NOW_MS).test_client().get("/").get_data(as_text=True)
    finally:
        handle.close()
    assert "Not watching since" in stale
    assert silent not in stale
    assert _tile("unknown", "station-0002") in stale


def _tile(condition: str, station_id: str) -> str:
    return f'<li class="tile" data-condition="{condition}" data-id="{station_id}">'


def _ms(text: str) -> int:
    return int(np.datetime64(text.removesuffix("Z"), "ms").astype(int))
