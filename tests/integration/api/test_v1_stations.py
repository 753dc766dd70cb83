"""Stations and what they measured, page by page, on a real Cassandra."""

from __future__ import annotations

import csv
import io
import json
import random

import pytest
from flask.testing import FlaskClient

from api.http.times import rfc3339
from core.settings import Settings
from storage.driver.session import Store
from storage.tables.minutes import MinuteRow, SensorMinute, write_minutes
from storage.tables.readings import ReadingRow, write_readings
from storage.tables.stations import StationRow, write_stations
from storage.tables.stream_progress import heartbeat
from tests.integration.api_plant import DAY_MS, HOUR_MS, MINUTE_MS, NOW_MS, walked

pytestmark = pytest.mark.timeout(300)
STATION = "station-0001"
LAST_MINUTE = NOW_MS - NOW_MS % MINUTE_MS


@pytest.fixture(scope="module")
def stations(store: Store) -> list[str]:
    """Stations with ids of every length and letter, one of them with open minutes."""
    rng = random.Random(9)  # noqa: S311
    letters = "abcXYZ019_-"
    ids = {"".join(rng.choice(letters) for _ in range(rng.randrange(1, 20))) for _ in range(700)} | {STATION}
    rows = [StationRow(one, NOW_MS, NOW_MS - 1000, 5, 1.0, {"temperature": 21.44}, {}) for one in ids]
    minute = {"temperature": SensorMinute(1.0, 1.5, 2.0, 3)}
    held = {LAST_MINUTE - MINUTE_MS: minute, LAST_MINUTE: minute}
    write_stations(store, rows)
    write_stations(store, [StationRow(STATION, NOW_MS, NOW_MS - 1000, 5, 1.0, {"noise": 60.0}, held)])
    return sorted(ids)


@pytest.mark.parametrize("size", [1, 50, 1000])
def test_a_walk_meets_every_station_once_by_id(api: FlaskClient, stations: list[str], size: int) -> None:
    """Breaks when a slot that holds more than its share of the next ids hides one."""
    if size == 1:
        first = api.get("/api/v1/stations?page_size=1").get_json()
        second = api.get(f"/api/v1/stations?page_size=1&page_token={first['next_page_token']}").get_json()
        assert [page["stations"][0]["station_id"] for page in (first, second)] == stations[:2]
        return
    found = walked(api, f"/api/v1/stations?page_size={size}", "stations")
    assert [row["station_id"] for row in found] == stations


def test_a_station_says_how_it_is(api: FlaskClient, plant: Settings, store: Store, stations: list[str]) -> None:
    """Breaks when a stale stream is taken for silent stations, or a value or unit goes astray."""
    assert api.get(f"/api/v1/stations/{STATION}").get_json()["condition"] == "unknown"
    heartbeat(store, plant.readings_topic, NOW_MS - 1000)
    write_stations(store, [StationRow("gone", NOW_MS, NOW_MS - 600_000, 5, 1.0, {}, {})])
    found = api.get(f"/api/v1/stations/{STATION}").get_json()
    assert (found["condition"], found["last_seen"]) == ("reporting", rfc3339(NOW_MS - 1000))
    assert found["sensors"] == [
        {"name": "temperature", "unit": "Cel", "value": None},
        {"name": "humidity", "unit": "%", "value": None},
        {"name": "noise", "unit": "dB", "value": 60.0},
    ]
    assert api.get("/api/v1/stations/gone").get_json()["condition"] == "silent"
    store.one("DELETE FROM stations WHERE slot = ? AND station_id = ?", (stations_slot("gone"), "gone"))
    for nobody in ("nobody", "a b", "x" * 65, "%00"):
        assert api.get(f"/api/v1/stations/{nobody}").status_code == 404
        assert api.get(f"/api/v1/stations/{nobody}/readings").status_code == 404


def stations_slot(station_id: str) -> int:
    from storage.tables.stations import station_slot

    return station_slot(station_id)


def test_a_walk_through_raw_readings_meets_each_once(api: FlaskClient, store: Store, stations: list[str]) -> None:
    """Breaks when a bucket's or a page's edge, or readings of one moment, lose or double a reading."""
    rng = random.Random(10)  # noqa: S311
    keys = {(NOW_MS - rng.randrange(3 * DAY_MS), seq) for seq in range(2500)}
    keys |= {(NOW_MS - HOUR_MS, seq) for seq in (-(2**63), -1, 0, 2**63 - 1)} | {(NOW_MS - 20 * DAY_MS, 5)}
    rows = [
        ReadingRow(STATION, at, seq, {"temperature": 20.5}, 0.7, 0.0, 2, 7, 0, 1, at, at) for at, seq in sorted(keys)
    ]
    write_readings(store, rows)
    path = f"/api/v1/stations/{STATION}/readings"
    found = walked(api, f"{path}?time_range=30d&page_size=97", "readings")
    assert [(row["event_time"], row["seq"]) for row in found] == [(rfc3339(at), seq) for at, seq in sorted(keys)]
    assert found[0]["sensors"] == {"temperature": 20.5, "humidity": None, "noise": None}
    assert (found[0]["late"], found[0]["is_anomaly"], found[0]["model_version"]) == (True, False, "7")
    start, end = sorted(keys)[1000][0], sorted(keys)[1100][0]
    some = walked(api, f"{path}?start={rfc3339(start)}&end={rfc3339(end)}&page_size=1000", "readings")
    assert len(some) == sum(start <= at < end for at, _ in keys)


def test_minutes_close_and_are_met_once(api: FlaskClient, store: Store, stations: list[str]) -> None:
    """Breaks when an open minute is missing, comes twice once it closed, or a page's edge loses one."""
    known = SensorMinute(1.0, 2.0, 3.0, 60, 0.5, 2.5, 4.5)
    closed = [MinuteRow(STATION, LAST_MINUTE - at * MINUTE_MS, {"temperature": known}, 60) for at in range(1, 3000)]
    write_minutes(store, closed)
    found = walked(
        api, f"/api/v1/stations/{STATION}/readings?resolution=minute&time_range=3d&page_size=700", "readings"
    )
    assert [row["time"] for row in found] == [rfc3339(LAST_MINUTE - at * MINUTE_MS) for at in range(2999, -1, -1)]
    assert [row["closed"] for row in found[-3:]] == [True, True, False]
    assert found[0]["sensors"]["temperature"] == {
        "minimum": 1.0, "mean": 2.0, "maximum": 3.0, "readings": 60, "lower": 0.5, "typical": 2.5, "upper": 4.5,
    }  # fmt: skip
    assert found[-1]["sensors"]["temperature"]["lower"] is None


def test_lines_are_the_whole_range(api: FlaskClient, store: Store, stations: list[str]) -> None:
    """Breaks when an export of readings or minutes stops at a page, or a column moves."""
    rows = [
        ReadingRow("lines", NOW_MS - at * 1000, at, {"noise": 60.5}, 0.7, 0.0, 1, 7, 0, 1, NOW_MS, NOW_MS)
        for at in range(1500)
    ]
    write_readings(store, rows)
    write_minutes(store, [MinuteRow("lines", LAST_MINUTE, {"noise": SensorMinute(1.0, 2.0, 3.0, 60)}, 60)])
    write_stations(store, [StationRow("lines", NOW_MS, NOW_MS - 1000, 5, 1.0, {}, {})])
    path = "/api/v1/stations/lines/readings"
    lines = [json.loads(line) for line in api.get(f"{path}?format=ndjson").get_data(as_text=True).splitlines()]
    assert lines == walked(api, f"{path}?page_size=900", "readings")
    assert len(lines) == 1500
    table = list(csv.DictReader(io.StringIO(api.get(path, headers={"Accept": "text/csv"}).get_data(as_text=True))))
    assert (table[0]["seq"], table[0]["noise"], table[0]["temperature"]) == ("1499", "60.5", "")
    minutes = api.get(f"{path}?format=csv&resolution=minute").get_data(as_text=True)
    (minute,) = csv.DictReader(io.StringIO(minutes))
    assert (minute["time"], minute["noise_mean"], minute["noise_lower"]) == (rfc3339(LAST_MINUTE), "2.0", "")
    store.one("DELETE FROM stations WHERE slot = ? AND station_id = ?", (stations_slot("lines"), "lines"))
