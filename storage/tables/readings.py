"""Table `readings`: what a station measured, and how each reading was judged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from core.times import HOUR_MS, steps
from storage.driver.column_batches import Partitions, column_batches, ids_of, write_column_batches
from storage.driver.cql_encoding import plain_map
from storage.driver.encoded_batches import Column, EncodedBatch, encode, maps_of
from storage.driver.retry import DEADLINE_SECONDS, OnWait
from storage.driver.session import Store, statement
from storage.driver.writes import write_rows

BUCKET_MS = 6 * HOUR_MS
BUCKETS_AT_ONCE = 8
PAGE_BUCKETS = 128
LEAST_SEQ = -(2**63)


class ReadingRow(NamedTuple):
    """One judged reading. Times in ms since the epoch; `sensors` holds no nulls, units as in the sensor catalogue."""

    station_id: str
    event_ms: int
    seq: int
    sensors: dict[str, float]
    score: float
    severity: float
    flags: int
    model_version: int
    kafka_partition: int
    kafka_offset: int
    record_ms: int
    scored_ms: int


INSERT = statement("""
INSERT INTO readings (station_id, bucket, event_time, seq, sensors, score, severity, flags, model_version,
    kafka_partition, kafka_offset, record_time, scored_time)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""")

_SELECT = """
SELECT station_id, toUnixTimestamp(event_time), seq, sensors, score, severity, flags, model_version,
    kafka_partition, kafka_offset, toUnixTimestamp(record_time), toUnixTimestamp(scored_time)
FROM readings WHERE station_id = ? AND bucket = ? AND event_time >= ? AND event_time < ?"""
SELECT_FROM = statement(
    _SELECT.replace("event_time >= ? AND event_time < ?", "(event_time, seq) >= (?, ?) AND (event_time, seq) < (?, ?)")
    + " ORDER BY event_time ASC, seq ASC LIMIT ?"
)
SELECT_OLDEST_FIRST = statement(_SELECT + " ORDER BY event_time ASC, seq ASC")
SELECT_NEWEST_FIRST = statement(_SELECT + " ORDER BY event_time DESC, seq DESC")


def write_readings(
    store: Store, rows: Iterable[ReadingRow], deadline_seconds: float = DEADLINE_SECONDS, on_wait: OnWait | None = None
) -> None:
    """Upsert readings by identity.

    Raises:
        StoreUnavailable: some row is not known to be written at the deadline; all may be written again.
    """
    write_rows(store, INSERT, map(keyed, rows), deadline_seconds, on_wait)


def readings_of(
    store: Store, station_id: str, start_ms: int, end_ms: int, newest_first: bool = False
) -> Iterator[ReadingRow]:
    """Yield a station's readings with start_ms <= event_time < end_ms, page by page, oldest first unless asked.

    Raises:
        StoreUnavailable: Cassandra is away.
    """
    select = SELECT_NEWEST_FIRST if newest_first else SELECT_OLDEST_FIRST
    for bucket in steps(start_ms, end_ms, BUCKET_MS, newest_first):
        for row in store.rows(select, (station_id, bucket, start_ms, end_ms)):
            yield _found(row)


class ReadingPlace(NamedTuple):
    """Where a walk through a station's readings stands: at and after this (event_ms, seq) nothing was met yet."""

    event_ms: int
    seq: int = LEAST_SEQ


def place_after(row: ReadingRow) -> ReadingPlace:
    """The place right behind a reading."""
    if row.seq == -LEAST_SEQ - 1:
        return ReadingPlace(row.event_ms + 1)
    return ReadingPlace(row.event_ms, row.seq + 1)


def readings_page(
    store: Store, station_id: str, place: ReadingPlace, end_ms: int, limit: int
) -> tuple[list[ReadingRow], ReadingPlace | None]:
    """A station's readings from `place` on, oldest first, with event_time < end_ms.

    Reads at most `PAGE_BUCKETS` partitions, so a page may be short, or empty, with more to come.

    Returns:
        At most `limit` readings, and where to go on; None at the end.
    """
    found: list[ReadingRow] = []
    buckets = list(steps(place.event_ms, end_ms, BUCKET_MS))
    for at in range(0, min(len(buckets), PAGE_BUCKETS), BUCKETS_AT_ONCE):
        several = buckets[at : min(at + BUCKETS_AT_ONCE, PAGE_BUCKETS)]
        edges = (*place, end_ms, LEAST_SEQ, limit - len(found))
        for rows in store.rows_of_all(SELECT_FROM, [(station_id, bucket, *edges) for bucket in several]):
            found += [_found(row) for row in rows]
        if len(found) >= limit:
            return found[:limit], place_after(found[limit - 1])
    left = buckets[PAGE_BUCKETS:]
    return found, ReadingPlace(left[0]) if left else None


def _found(row: Sequence[Any]) -> ReadingRow:
    return ReadingRow._make((*row[:3], plain_map(row[3]), *row[4:]))


def keyed(row: ReadingRow) -> tuple[tuple[str, int], tuple[object, ...]]:
    """A row's partition, and its values as `INSERT` takes them."""
    station_id, event_ms = row[0], row[1]
    bucket = event_ms - event_ms % BUCKET_MS
    return (station_id, bucket), (station_id, bucket, *row[1:])


@dataclass(frozen=True)
class ReadingColumns:
    """Judged readings, all sensors measured: written by columns at a fourth of the cost of row by row.

    Arrays (n,); times in ms since the epoch.

    Args:
        stations: ids that occur, each once.
        station: index into `stations`.
        event_ms, seq: identity beside the station.
        names: of the sensors.
        values: (n, n_sensors) float64 in the sensors' units, no NaN.
        score, severity, flags, version: of the verdict.
        partition, offset, record_ms: of the Kafka record.
        scored_ms: of all of them.
    """

    stations: Sequence[str]
    station: np.ndarray
    event_ms: np.ndarray
    seq: np.ndarray
    names: Sequence[str]
    values: np.ndarray
    score: np.ndarray
    severity: np.ndarray
    flags: np.ndarray
    version: np.ndarray
    partition: np.ndarray
    offset: np.ndarray
    record_ms: np.ndarray
    scored_ms: int


def write_reading_columns(
    store: Store, columns: ReadingColumns, deadline_seconds: float, on_wait: OnWait | None = None
) -> None:
    """Upsert readings by identity.

    Raises:
        StoreUnavailable: some row is not known to be written at the deadline; all may be written again.
    """
    write_column_batches(store, INSERT, batches(store, columns), deadline_seconds, on_wait)


def batches(store: Store, columns: ReadingColumns) -> Iterator[EncodedBatch]:
    """Yield the batches that hold these readings, each partition's rows side by side."""
    ids = [name.encode() for name in columns.stations]
    bucket = columns.event_ms - columns.event_ms % BUCKET_MS

    def encoded(rows: np.ndarray) -> np.ndarray:
        values = [Column("double", column) for column in columns.values[rows].T]
        ordered = [
            Column("raw", ids_of(ids, columns.station[rows])),
            Column("timestamp", bucket[rows]),
            Column("timestamp", columns.event_ms[rows]),
            Column("bigint", columns.seq[rows]),
            Column("raw", maps_of(columns.names, values, len(rows))),
            Column("double", columns.score[rows]),
            Column("float", columns.severity[rows]),
            Column("int", columns.flags[rows]),
            Column("int", columns.version[rows]),
            Column("int", columns.partition[rows]),
            Column("bigint", columns.offset[rows]),
            Column("timestamp", columns.record_ms[rows]),
            Column("raw", columns.scored_ms.to_bytes(8, "big", signed=True)),
        ]
        return encode(store.prepared(INSERT), ordered, len(rows))

    parts = Partitions(ids, columns.station, "timestamp", bucket, columns.event_ms)
    return column_batches(store, parts, encoded)
