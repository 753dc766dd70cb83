"""What each route asks Cassandra for: whole partition keys only, and a bounded number of them."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from api.http.opaque_ids import anomaly_id
from api.services.context import Context, wall_clock_ms
from api.services.count_maintenance import CountKeeper
from core.settings import Settings
from storage.driver.session import Store, StoreConfig, connect
from storage.tables.anomalies import write_anomalies
from storage.tables.readings import ReadingRow, write_readings
from storage.tables.recounting import counts_hold_since
from storage.tables.stations import StationRow, write_stations
from storage.tables.stream_progress import mark_complete
from tests.integration.api_plant import (
    DAY_MS,
    HOUR_MS,
    NOW_MS,
    Given,
    Traced,
    anomaly_row,
    answered,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(300)
STATION = "station-0003"
# The index of a year's turn, the page token's secret, what the counts say of themselves.
FEW = 4

ROUTES = [
    # An hour at first, then more at once until the page ends: 16 hours of 8 slots follow 15 before them.
    ("/api/v1/anomalies?time_range=30d", 2 * 31 * 8 + 31 + FEW),
    ("/api/v1/anomalies?time_range=30d&min_severity=99.9&page_size=1000", 2 * 31 * 8 + 31 + FEW),
    # What is severe enough is read again, whole, from the same partitions.
    ("/api/v1/anomalies?time_range=30d&min_severity=50", 3 * 31 * 8 + 31 + FEW),
    (f"/api/v1/anomalies?time_range=90d&station_id={STATION}", 2 * 91 + FEW),
    ("/api/v1/counts?time_range=24h&step=1h&group_by=station", 2 * 8 + 3 * 8 + FEW),
    ("/api/v1/counts?time_range=30d&step=1d&group_by=severity", 32 * 8 + 4 * 8 + FEW),
    ("/api/outliers_count?time_range=30d", 32 * 8 + 4 * 8 + FEW),
    # Each partition that the index names holds an anomaly at least; the last 16 hours are read together.
    ("/api/latest_anomalies?limit=1000", 1000 + 16 * 8 + FEW),
    ("/api/v1/stations?page_size=1000", 16 + FEW),
    (f"/api/v1/stations/{STATION}", FEW),
    (f"/api/v1/stations/{STATION}/readings?time_range=30d", 128 + FEW),
    (f"/api/v1/stations/{STATION}/readings?time_range=30d&resolution=minute", 31 + FEW),
    (f"/api/v1/anomalies/{anomaly_id(STATION, NOW_MS, 10**6)}", FEW),
    ("/api/v1/alarms?page_size=1000", 8 + FEW),
    ("/api/v1/alarms?time_range=90d", 25 * 8 + FEW),
    (f"/api/v1/alarms?time_range=90d&station_id={STATION}", 25 + FEW),
]


@pytest.fixture(scope="module")
def store(plant: Settings) -> Iterator[Store]:
    opened = connect(StoreConfig.from_settings(plant))
    rng = random.Random(12)  # noqa: S311
    rows = [
        anomaly_row(
            f"station-{rng.randrange(30):04d}", NOW_MS - rng.randrange(30 * DAY_MS), at, rng.uniform(0, 99),
            kafka_offset=at, record_ms=NOW_MS - HOUR_MS,
        )
        for at in range(5000)
    ]  # fmt: skip
    write_anomalies(opened, [*rows, anomaly_row(STATION, NOW_MS, 10**6, kafka_offset=5000, record_ms=NOW_MS)])
    write_stations(opened, [StationRow(STATION, NOW_MS, NOW_MS, 5, 1.0, {}, {})])
    write_readings(opened, [ReadingRow(STATION, NOW_MS, 1, {}, 0.5, 0.0, 0, 1, 0, 1, NOW_MS, NOW_MS)])
    mark_complete(opened, plant.readings_topic, {0: 5001}, 1)
    yield opened
    opened.close()


@pytest.fixture
def api(plant: Settings, store: Store) -> FlaskClient:
    return create_app(plant, Given(store), wall_clock_ms).test_client()


def test_one_of_two_processes_keeps_the_counts_and_the_other_takes_over(plant: Settings, store: Store) -> None:
    """Breaks when two processes both count, none does, or a process that ends keeps the lease."""
    keepers = [CountKeeper(Context(plant, Given(store)), 0.2) for _ in range(2)]
    first, second = keepers
    first.start()
    try:
        wait_until(lambda: counts_hold_since(store, plant.readings_topic), "the first count of everything")
        second.start()
        noted = counts_hold_since(store, plant.readings_topic)
        wait_until(lambda: counts_hold_since(store, plant.readings_topic) != noted, "the first one goes on")
        first.close()
        noted = counts_hold_since(store, plant.readings_topic)
        wait_until(lambda: counts_hold_since(store, plant.readings_topic) != noted, "the second one takes over")
    finally:
        for keeper in keepers:
            keeper.close()


@pytest.mark.parametrize(("path", "most"), ROUTES)
def test_a_route_reads_whole_partitions_and_few(api: FlaskClient, store: Store, path: str, most: int) -> None:
    """Breaks when a route scans, filters in Cassandra, or reads on until it has found enough."""
    answered(api, path)
    held = "UPDATE counts_progress SET time = ? WHERE topic = 'readings' AND kafka_partition = -1"
    store.one(held, (wall_clock_ms(),))
    with Traced(store) as traced:
        assert api.get(path).status_code == 200
    assert traced.partitions, "nothing was traced"
    assert not traced.unbounded()
    assert len(traced.partitions) <= most, len(traced.partitions)
