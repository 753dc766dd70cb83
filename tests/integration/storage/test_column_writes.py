"""What is written by columns is, in a real Cassandra, the rows that row by row would have been."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest

from core.times import DAY_MS, MINUTE_MS
from storage.driver.session import Store, StoreConfig, connect
from storage.tables.minutes import (
    MinuteColumns,
    MinuteRow,
    SensorMinute,
    minutes_of,
    write_minute_columns,
    write_minutes,
)
from storage.tables.readings import (
    BUCKET_MS,
    ReadingColumns,
    ReadingRow,
    readings_of,
    write_reading_columns,
    write_readings,
)
from tests.keyspaces import Keyspaces

START = (time.time_ns() // 1_000_000 // BUCKET_MS - 3) * BUCKET_MS
NAMES = ("temperature", "humidity", "noise")
STATIONS = ("a", "b", "station-000001", "station-000002")


@pytest.fixture(scope="module")
def store(keyspaces: Keyspaces) -> Iterator[Store]:
    with keyspaces.lent() as settings, closing(connect(StoreConfig.from_settings(settings))) as opened:
        yield opened


def some(n: int) -> ReadingColumns:
    """Readings of four stations, in two buckets each, one station far more often than the others."""
    rng = np.random.default_rng(1)
    station = rng.choice(4, n, p=[0.85, 0.05, 0.05, 0.05])
    numbers = np.arange(n)
    return ReadingColumns(
        STATIONS, station, START + rng.integers(0, 2 * BUCKET_MS, n), rng.integers(-(2**62), 2**62, n), NAMES,
        rng.normal(size=(n, 3)), rng.random(n), rng.random(n).astype(np.float32), numbers % 256, numbers % 3,
        numbers % 4, numbers, START + numbers, START + 7,
    )  # fmt: skip


def rows_of(columns: ReadingColumns) -> list[ReadingRow]:
    return [
        ReadingRow(
            STATIONS[columns.station[row]], int(columns.event_ms[row]), int(columns.seq[row]),
            dict(zip(NAMES, columns.values[row].tolist(), strict=True)), float(columns.score[row]),
            float(columns.severity[row]), int(columns.flags[row]), int(columns.version[row]),
            int(columns.partition[row]), int(columns.offset[row]), int(columns.record_ms[row]), columns.scored_ms,
        )
        for row in range(len(columns.station))
    ]  # fmt: skip


def stored(store: Store) -> set[tuple[object, ...]]:
    found = [row for name in STATIONS for row in readings_of(store, name, START, START + 2 * BUCKET_MS)]
    return {(*row[:3], tuple(sorted(row.sensors.items())), *row[4:]) for row in found}


def some_minutes(n: int) -> MinuteColumns:
    """Minutes around the turn of a day, of stations with ids of two lengths; floats that float32 holds as they are."""
    rng = np.random.default_rng(2)
    station = np.arange(n) % len(STATIONS)
    minute_ms = START - START % DAY_MS + (np.arange(n) // len(STATIONS) - n // 8) * MINUTE_MS
    low, typical = (rng.normal(size=(n, 3)).astype(np.float32).astype(np.float64) for _ in range(2))
    band = np.stack([low, typical, typical + 1.0], axis=2).astype(np.float32).astype(np.float64)
    count = rng.integers(1, 61, (n, 3)).astype(np.float64)
    return MinuteColumns(
        STATIONS, station, minute_ms, np.arange(n), NAMES, low, rng.normal(size=(n, 3)), typical, count, band
    )


def minute_rows_of(columns: MinuteColumns) -> list[MinuteRow]:
    found = []
    for row, station in enumerate(columns.station):
        parts = (columns.minimum[row], columns.mean[row], columns.maximum[row], columns.count[row], columns.band[row])
        sensors = {
            name: SensorMinute(float(least), float(mean), float(most), int(count), *map(float, band))
            for name, least, mean, most, count, band in zip(NAMES, *parts, strict=True)
        }
        found.append(MinuteRow(STATIONS[station], int(columns.minute_ms[row]), sensors, int(columns.readings[row])))
    return found


def stored_minutes(store: Store) -> list[MinuteRow]:
    return [row for name in STATIONS for row in minutes_of(store, name, START - 3 * DAY_MS, START + 3 * DAY_MS)]


def test_both_ways_leave_the_same_minutes(store: Store) -> None:
    """Breaks when a field of a minute is encoded as another type, or a minute is lost at the turn of a day."""
    columns = some_minutes(1200)
    rows = sorted(minute_rows_of(columns))
    write_minute_columns(store, columns, 60.0)
    assert sorted(stored_minutes(store)) == rows
    store.run("TRUNCATE station_minutes")
    assert not stored_minutes(store)
    write_minutes(store, rows)
    assert sorted(stored_minutes(store)) == rows


def test_both_ways_leave_the_same_rows(store: Store) -> None:
    """Breaks when a column is encoded as another type, or rows are lost or mixed between batches."""
    columns = some(2500)
    write_reading_columns(store, columns, 60.0)
    by_columns = stored(store)
    assert len(by_columns) == 2500
    store.run("TRUNCATE readings")
    assert not stored(store)
    write_readings(store, rows_of(columns))
    assert stored(store) == by_columns


def test_writing_again_changes_nothing(store: Store) -> None:
    """Breaks when a batch that runs twice leaves other rows than one that ran once."""
    columns = some(300)
    write_reading_columns(store, columns, 60.0)
    before = stored(store)
    write_reading_columns(store, columns, 60.0)
    assert stored(store) == before
