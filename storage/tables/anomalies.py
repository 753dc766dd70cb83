"""The abnormal readings: by time for the plant, by station, and in order of arrival.

Written in two steps, so that a crash between them leaves nothing a reader could be misled by: first the index of the
partitions (one that names an empty partition is harmless, a missing one would hide anomalies), then the three tables.
The feed is read below `stream_progress.complete_to` only, hence never while a batch is half written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple
from zlib import crc32

import msgspec

from core.times import HOUR_MS, cql_date, floored, year_of
from storage.driver.cql_encoding import plain_map
from storage.driver.retry import DEADLINE_SECONDS, OnWait, Patience
from storage.driver.session import Store, statement
from storage.driver.writes import batches_of, write_all, write_rows

TIME_SLOTS = 8


class AnomalyRow(NamedTuple):
    """One abnormal reading. Times in ms since the epoch.

    `sensors` holds no nulls, units as in the sensor catalogue; `verdict` is the JSON of core.verdict;
    `block` is that of models.scoring.feature_block, None where it was not read (lists and the feed).
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


INSERT_HOUR = statement("INSERT INTO anomaly_hours (year, hour, slot) VALUES (?, ?, ?)")
INSERT_FEED_HOUR = statement("""
INSERT INTO anomaly_feed_hours (kafka_partition, append_hour, last_offset) VALUES (?, ?, ?) USING TIMESTAMP ?""")
INSERT_BY_TIME = statement("""
INSERT INTO anomalies_by_time (hour, slot, leading_sensor, station_id, event_time, seq, sensors, score, severity, flags,
    verdict, ordinal, block, model_version, kafka_partition, kafka_offset, record_time, scored_time, stored_time)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""")
INSERT_BY_STATION = statement("""
INSERT INTO anomalies_by_station (day, station_id, event_time, seq, sensors, score, severity, flags, verdict, ordinal,
    block, model_version, kafka_partition, kafka_offset, record_time, scored_time, stored_time)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""")
INSERT_FEED = statement("""
INSERT INTO anomaly_feed (append_hour, station_id, event_time, seq, sensors, score, severity, flags, verdict, ordinal,
    model_version, kafka_partition, kafka_offset, record_time, scored_time, stored_time)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""")

FOUND_COLUMNS = """
SELECT station_id, toUnixTimestamp(event_time), seq, sensors, score, severity, flags, verdict, ordinal, model_version,
    kafka_partition, kafka_offset, toUnixTimestamp(record_time), toUnixTimestamp(scored_time),
    toUnixTimestamp(stored_time)"""
SELECT_ONE = statement(
    FOUND_COLUMNS
    + """, block
FROM anomalies_by_station WHERE station_id = ? AND day = ? AND event_time = ? AND seq = ?"""
)
SELECT_FEED = statement(
    FOUND_COLUMNS
    + """
FROM anomaly_feed WHERE append_hour = ? AND kafka_partition = ? AND kafka_offset > ? AND kafka_offset < ? LIMIT ?"""
)
SELECT_HOURS = statement("""
SELECT toUnixTimestamp(hour), slot FROM anomaly_hours WHERE year = ? AND hour >= ? AND hour < ?""")
_BLOCK = AnomalyRow._fields.index("block")
_SENSORS = AnomalyRow._fields.index("sensors")


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


def anomaly(store: Store, station_id: str, event_ms: int, seq: int) -> AnomalyRow | None:
    """The anomaly of this identity with its block, or None."""
    row = store.one(SELECT_ONE, (station_id, cql_date(event_ms), event_ms, seq))
    return None if row is None else found_row(row[:-1])._replace(block=row[-1])


def anomalies_of(store: Store, identities: Iterable[tuple[str, int, int]]) -> list[AnomalyRow]:
    """The anomalies of these identities with their blocks, in no order; those that are gone are left out."""
    keys = [(station_id, cql_date(event_ms), event_ms, seq) for station_id, event_ms, seq in identities]
    rows = (row for rows in store.rows_of_all(SELECT_ONE, keys) for row in rows)
    return [found_row(row[:-1])._replace(block=row[-1]) for row in rows]


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
    return [found_row(row) for row in store.rows(SELECT_FEED, values)]


def _feed_hours(rows: Iterable[AnomalyRow]) -> Iterator[tuple[int, tuple[object, ...]]]:
    """Yield the last offset of each hour of the feed. The offset is its own write timestamp, so the largest wins."""
    last: dict[tuple[int, int], int] = {}
    for row in rows:
        key = row.kafka_partition, floored(row.record_ms, HOUR_MS)
        last[key] = max(last.get(key, 0), row.kafka_offset)
    for (partition, hour), offset in sorted(last.items()):
        yield partition, (partition, hour, offset, offset + 1)


class _Share(msgspec.Struct):
    name: str
    contribution: float = 0.0


class _Shares(msgspec.Struct):
    sensors: list[_Share] = []


_shares = msgspec.json.Decoder(_Shares)


def leading_sensor(verdict: str) -> str | None:
    """The sensor that contributes most to a verdict, None where the verdict names none."""
    try:
        shares = _shares.decode(verdict).sensors
    except msgspec.MsgspecError:
        return None
    return max(shares, key=lambda share: share.contribution).name if shares else None


def _by_time(row: AnomalyRow) -> tuple[tuple[int, int], tuple[object, ...]]:
    hour, slot = floored(row.event_ms, HOUR_MS), time_slot(row.station_id)
    return (hour, slot), (hour, slot, leading_sensor(row.verdict), *row)


def _by_station(row: AnomalyRow) -> tuple[tuple[int, str], tuple[object, ...]]:
    day = cql_date(row.event_ms)
    return (day, row.station_id), (day, *row)


def _fed(row: AnomalyRow) -> tuple[tuple[int, int], tuple[object, ...]]:
    hour = floored(row.record_ms, HOUR_MS)
    return (hour, row.kafka_partition), (hour, *row[:_BLOCK], *row[_BLOCK + 1 :])


def found_row(found: Sequence[Any]) -> AnomalyRow:
    """An anomaly without its block, of the values of FOUND_COLUMNS."""
    *before, sensors = found[: _SENSORS + 1]
    return AnomalyRow._make((*before, plain_map(sensors), *found[_SENSORS + 1 : _BLOCK], None, *found[_BLOCK:]))
