"""The abnormal readings: by time for the plant, by station, and in order of arrival.

Written in two steps, so that a crash between them leaves nothing a reader could be misled by: first the index of the
partitions (one that names an empty partition is harmless, a missing one would hide anomalies), then the three tables.
The feed is read below `stream_progress.complete_to` only, hence never while a batch is half written.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple
from zlib import crc32

from storage.retries import DEADLINE_SECONDS, OnWait, Patience
from storage.session import Store
from storage.times import DAY_MS, HOUR_MS, cql_date, floored, year_of
from storage.writes import batches_of, write_all, write_rows

TIME_SLOTS = 8


class AnomalyRow(NamedTuple):
    """One abnormal reading. Times in ms since the epoch.

    `sensors` holds no nulls, units as in the sensor catalogue; `verdict` is the JSON of models.detection.verdict;
    `block` is that of models.detection.block, None where it was not read (lists and the feed).
    """

    station_id: str
    event_ms: int
    seq: int
    sensors: dict[str, float]
    score: float
    severity: float
    flags: int
    verdict: str
    ordinal: int
    block: bytes | None
    model_version: int
    kafka_partition: int
    kafka_offset: int
    record_ms: int
    scored_ms: int
    stored_ms: int


INSERT_HOUR = "INSERT INTO anomaly_hours (year, hour, slot) VALUES (?, ?, ?)"
INSERT_FEED_HOUR = """
INSERT INTO anomaly_feed_hours (kafka_partition, append_hour, last_offset) VALUES (?, ?, ?) USING TIMESTAMP ?"""
INSERT_BY_TIME = """
INSERT INTO anomalies_by_time (hour, slot, station_id, event_time, seq, sensors, score, severity, flags, verdict,
    ordinal, block, model_version, kafka_partition, kafka_offset, record_time, scored_time, stored_time)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
INSERT_BY_STATION = """
INSERT INTO anomalies_by_station (day, station_id, event_time, seq, sensors, score, severity, flags, verdict, ordinal,
    block, model_version, kafka_partition, kafka_offset, record_time, scored_time, stored_time)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
INSERT_FEED = """
INSERT INTO anomaly_feed (append_hour, station_id, event_time, seq, sensors, score, severity, flags, verdict, ordinal,
    model_version, kafka_partition, kafka_offset, record_time, scored_time, stored_time)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

_FOUND = """
SELECT station_id, toUnixTimestamp(event_time), seq, sensors, score, severity, flags, verdict, ordinal, model_version,
    kafka_partition, kafka_offset, toUnixTimestamp(record_time), toUnixTimestamp(scored_time),
    toUnixTimestamp(stored_time)"""
SELECT_LATEST = _FOUND + " FROM anomalies_by_time WHERE hour = ? AND slot = ? LIMIT ?"
SELECT_COUNT = """
SELECT COUNT(*) FROM anomalies_by_time WHERE hour = ? AND slot = ? AND event_time >= ? AND event_time < ?"""
SELECT_STATION = (
    _FOUND
    + """
FROM anomalies_by_station WHERE station_id = ? AND day = ? AND event_time >= ? AND event_time < ?"""
)
SELECT_ONE = (
    _FOUND
    + """, block
FROM anomalies_by_station WHERE station_id = ? AND day = ? AND event_time = ? AND seq = ?"""
)
SELECT_FEED = (
    _FOUND
    + """
FROM anomaly_feed WHERE append_hour = ? AND kafka_partition = ? AND kafka_offset > ? AND kafka_offset < ? LIMIT ?"""
)
SELECT_HOURS = """
SELECT toUnixTimestamp(hour), slot FROM anomaly_hours WHERE year = ? AND hour >= ? AND hour < ?"""
_BLOCK = AnomalyRow._fields.index("block")


def time_slot(station_id: str) -> int:
    """Which of the eight partitions of an hour of `anomalies_by_time` holds this station."""
    return crc32(station_id.encode()) % TIME_SLOTS


def write_anomalies(
    store: Store, rows: Iterable[AnomalyRow], deadline_seconds: float = DEADLINE_SECONDS, on_wait: OnWait | None = None
) -> None:
    """Upsert anomalies by identity into the three tables, after the index of the partitions they lie in.

    Raises:
        StoreUnavailable: some row is not known to be written at the deadline; all may be written again.
    """
    rows = list(rows)
    if not rows:
        return
    patience = Patience(deadline_seconds, on_wait)
    keys = {(floored(row.event_ms, HOUR_MS), time_slot(row.station_id)) for row in rows}
    index = ((year_of(hour), (year_of(hour), hour, slot)) for hour, slot in sorted(keys))
    write_rows(store, INSERT_HOUR, index, patience.remaining(), on_wait)
    write_rows(store, INSERT_FEED_HOUR, _feed_hours(rows), patience.remaining(), on_wait)
    tables = [
        batches_of(store, insert, map(keyed, rows), patience)
        for insert, keyed in ((INSERT_BY_TIME, _by_time), (INSERT_BY_STATION, _by_station), (INSERT_FEED, _fed))
    ]
    write_all(store, chain.from_iterable(tables), patience.remaining(), on_wait)


def latest(store: Store, limit: int, now_ms: int | None = None) -> list[AnomalyRow]:
    """The newest anomalies of the plant by event time, newest first, without their blocks.

    Reads at most `limit` rows of each partition, of one hour first and of more hours at once as it walks back.

    Args:
        store: where from.
        limit: most rows returned.
        now_ms: ms since the epoch, the wall clock unless given; bounds the years that can hold anomalies.
    """
    now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    found: list[AnomalyRow] = []
    for hours in _growing(_hours_back(store, now_ms)):
        wanted = limit - len(found)
        if wanted <= 0:
            break
        partitions = [(hour, slot, wanted) for hour, slots in hours for slot in slots]
        rows = map(_row, chain.from_iterable(store.rows_of_all(SELECT_LATEST, partitions)))
        found += sorted(rows, key=lambda row: (-row.event_ms, row.station_id, -row.seq))[:wanted]
    return found


def count(store: Store, start_ms: int, end_ms: int) -> int:
    """How many anomalies have start_ms <= event_time < end_ms. Exact; reads only partitions that exist."""
    partitions = [(hour, slot, start_ms, end_ms) for hour, slot in _partitions(store, start_ms, end_ms)]
    return sum(rows[0][0] for rows in store.rows_of_all(SELECT_COUNT, partitions))


def by_station(store: Store, station_id: str, start_ms: int, end_ms: int) -> Iterator[AnomalyRow]:
    """Yield a station's anomalies with start_ms <= event_time < end_ms, newest first, without their blocks."""
    last_day = floored(max(start_ms, end_ms - 1), DAY_MS)
    for day in range(last_day, floored(start_ms, DAY_MS) - 1, -DAY_MS):
        yield from map(_row, store.rows(SELECT_STATION, (station_id, cql_date(day), start_ms, end_ms)))


def anomaly(store: Store, station_id: str, event_ms: int, seq: int) -> AnomalyRow | None:
    """The anomaly of this identity with its block, or None."""
    row = store.one(SELECT_ONE, (station_id, cql_date(event_ms), event_ms, seq))
    return None if row is None else _row(row[:-1])._replace(block=row[-1])


def feed(
    store: Store, hour_ms: int, partition: int, after_offset: int, limit: int, below_offset: int = 2**63 - 1
) -> list[AnomalyRow]:
    """The anomalies of a Kafka partition in order of arrival, without their blocks.

    Args:
        store: where from.
        hour_ms: start of the hour of the record time.
        partition: Kafka partition.
        after_offset: the last offset already seen, -1 for none.
        limit: most rows returned.
        below_offset: `complete_to` of the partition; at and above it a batch may be half written.
    """
    values = (hour_ms, partition, after_offset, below_offset, limit)
    return [_row(row) for row in store.rows(SELECT_FEED, values)]


def _feed_hours(rows: Iterable[AnomalyRow]) -> Iterator[tuple[int, tuple[object, ...]]]:
    """Yield the last offset of each hour of the feed. The offset is its own write timestamp, so the largest wins."""
    last: dict[tuple[int, int], int] = {}
    for row in rows:
        key = row.kafka_partition, floored(row.record_ms, HOUR_MS)
        last[key] = max(last.get(key, 0), row.kafka_offset)
    for (partition, hour), offset in sorted(last.items()):
        yield partition, (partition, hour, offset, offset + 1)


def _by_time(row: AnomalyRow) -> tuple[tuple[int, int], tuple[object, ...]]:
    hour, slot = floored(row.event_ms, HOUR_MS), time_slot(row.station_id)
    return (hour, slot), (hour, slot, *row)


def _by_station(row: AnomalyRow) -> tuple[tuple[int, str], tuple[object, ...]]:
    day = cql_date(row.event_ms)
    return (day, row.station_id), (day, *row)


def _fed(row: AnomalyRow) -> tuple[tuple[int, int], tuple[object, ...]]:
    hour = floored(row.record_ms, HOUR_MS)
    return (hour, row.kafka_partition), (hour, *row[:_BLOCK], *row[_BLOCK + 1 :])


def _row(found: Sequence[Any]) -> AnomalyRow:
    row = AnomalyRow._make((*found[:_BLOCK], None, *found[_BLOCK:]))
    return row._replace(sensors=dict(row.sensors or {}))


def _partitions(store: Store, start_ms: int, end_ms: int) -> Iterator[tuple[int, int]]:
    """Yield (hour, slot) of the partitions that touch [start_ms, end_ms), newest hour first."""
    if end_ms <= start_ms:
        return
    first_hour = floored(start_ms, HOUR_MS)
    for year in range(year_of(end_ms - 1), year_of(first_hour) - 1, -1):
        yield from store.rows(SELECT_HOURS, (year, first_hour, end_ms))


def _hours_back(store: Store, now_ms: int) -> Iterator[tuple[int, list[int]]]:
    """Yield (hour, slots) newest first, as far back as anomalies are kept.

    Event times lie at most 5 minutes ahead of and 30 days behind the record time; a day and 31 days cover them.
    """
    oldest_ms = max(0, now_ms - (store.config.anomalies_ttl_days + 31) * DAY_MS)
    hour, slots = None, []
    for next_hour, slot in _partitions(store, oldest_ms, now_ms + DAY_MS):
        if hour is not None and next_hour != hour:
            yield hour, slots
            slots = []
        hour = next_hour
        slots.append(slot)
    if hour is not None:
        yield hour, slots


def _growing(hours: Iterable[tuple[int, list[int]]]) -> Iterator[list[tuple[int, list[int]]]]:
    """Cut into lists of 1, 2, 4, 8, 16, 16 … hours: one busy hour is enough, quiet ones are read together."""
    size, held = 1, []
    for hour in hours:
        held.append(hour)
        if len(held) == size:
            yield held
            size, held = min(2 * size, 16), []
    if held:
        yield held
