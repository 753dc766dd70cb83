"""The plant's levels: each station counts once, bad records are counted, places are spread."""

from __future__ import annotations

import json
import math

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest

from core.sensors import DEFAULT_SENSORS
from spark_jobs.plant_levels.levels import levels_of
from spark_jobs.plant_levels.metrics import LevelMetrics
from spark_jobs.plant_levels.sample import CHUNKS, RECORDS, Record, chunks

NOW_MS = 1_790_000_000_000


def record(station: str, temperature: float | None, seq: int = 1) -> Record:
    reading = {
        "schema_version": 1,
        "station_id": station,
        "event_time": "2026-09-21T13:46:40.000Z",
        "seq": seq,
        "temperature": temperature,
        "humidity": 50.0,
        "noise": 60.0,
    }
    return Record(station.encode(), json.dumps(reading).encode(), NOW_MS)


def test_a_station_counts_once_with_its_newest_reading() -> None:
    """Breaks when chatty stations weigh more, or an older reading wins."""
    records = [record("a", 500.0), *[record("a", 20.0, seq) for seq in range(2, 50)], record("b", 40.0)]
    levels = levels_of(records, DEFAULT_SENSORS)
    assert levels.stations == 2
    assert levels.ranks["temperature"]["p50"] == 30.0
    assert levels.implausible["temperature"] == 0.0
    assert levels.newest_ms == NOW_MS


def test_missing_implausible_and_refused_are_shares() -> None:
    """Breaks when what is wrong with a plant is left out of its levels."""
    records = [record("a", None), record("b", 90.0), record("c", 20.0), record("d", 22.0), Record(b"e", b"{", NOW_MS)]
    levels = levels_of(records, DEFAULT_SENSORS)
    assert levels.missing["temperature"] == 0.25
    assert levels.implausible["temperature"] == 0.25
    assert levels.ranks["temperature"]["p50"] == 22.0
    assert levels.refused == 0.2


def test_an_empty_look_claims_nothing() -> None:
    """Breaks when a silent plant shows zeros, or its last levels for ever."""
    metrics = LevelMetrics()
    metrics.show(levels_of([record("a", 20.0)], DEFAULT_SENSORS))
    assert b'iot_plant_level{rank="p50",sensor="temperature"} 20.0' in generate_latest(metrics.registry)
    empty = levels_of([], DEFAULT_SENSORS)
    assert (empty.stations, empty.newest_ms, math.isnan(empty.refused)) == (0, None, True)
    metrics.show(empty)
    assert b"iot_plant_level{" not in generate_latest(metrics.registry)


@given(st.integers(0, 10**12), st.integers(0, 10**7))
def test_places_are_bounded_apart_and_reach_the_end(begin: int, count: int) -> None:
    """Breaks when a look at a large topic reads all of it, reads twice, or misses the newest."""
    places = chunks(begin, begin + count)
    assert sum(after - first for first, after in places) == min(count, CHUNKS * RECORDS)
    assert all(first >= begin for first, _ in places)
    assert all(after <= first for (_, after), (first, _) in zip(places, places[1:], strict=False))
    assert not places or places[-1][1] == begin + count
