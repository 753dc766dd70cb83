"""What arrived since: the feed of anomalies behind a position, exactly once and in order of arrival.

A position is a vector, Kafka partition → first offset not seen. Rows lie in one partition of `anomaly_feed` an hour of
record time, which need not be the present one: a stream that catches up, or a topic that is replayed, stores anomalies
of hours gone by. `anomaly_feed_hours` names those hours and the last offset in each, so that only hours with something
behind the position are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from heapq import merge
from typing import NamedTuple

from core.times import HOUR_MS, floored
from storage.driver.session import Store, statement
from storage.tables.anomalies import AnomalyRow, feed

Position = dict[int, int]
"""Kafka partition → first offset not seen; a partition that is missing was never seen."""

SELECT_FEED_HOURS = statement("""
SELECT kafka_partition, toUnixTimestamp(append_hour), last_offset FROM anomaly_feed_hours
WHERE kafka_partition = ? AND append_hour >= ?""")


class Arrived(NamedTuple):
    """Anomalies in order of arrival within each Kafka partition, and the position behind them.

    `more`: the position is not yet at `complete_to`, because of the limit.
    """

    rows: list[AnomalyRow]
    position: Position
    more: bool


def arrived(
    store: Store, position: Mapping[int, int], complete_to: Mapping[int, int], since_ms: int, limit: int
) -> Arrived:
    """The anomalies at and behind `position`, below `complete_to`.

    Args:
        store: where from.
        position: partition → first offset wanted, 0 for partitions not named.
        complete_to: partition → first offset that may be half written (`storage.tables.stream_progress.progress`).
        since_ms: record time before which nothing is looked for, ms since the epoch; Kafka's retention bounds it.
        limit: about how many rows a Kafka partition gives at most.
    """
    after = dict(position)
    parts: list[list[AnomalyRow]] = []
    moved = [partition for partition, to in complete_to.items() if to > position.get(partition, 0)]
    for partition, hours in _hours(store, moved, position, since_ms):
        start, end = position.get(partition, 0), complete_to[partition]
        rows, after[partition] = _merged(store, partition, hours, start, end, limit)
        parts.append(rows)
    more = any(after[partition] < complete_to[partition] for partition in moved)
    return Arrived(list(merge(*parts, key=lambda row: row.record_ms)), after, more)


def oldest_hour(store: Store, position: Mapping[int, int], complete_to: Mapping[int, int], since_ms: int) -> int | None:
    """Start of the oldest hour of record time with an anomaly behind `position`, ms; None when there is none."""
    hours = (hours for _, hours in _hours(store, list(complete_to), position, since_ms))
    return min((hour for found in hours for hour in found), default=None)


def _hours(
    store: Store, partitions: list[int], position: Mapping[int, int], since_ms: int
) -> Iterator[tuple[int, list[int]]]:
    """Yield each partition and the hours that hold something behind its position."""
    since = floored(since_ms, HOUR_MS)
    answers = store.rows_of_all(SELECT_FEED_HOURS, [(partition, since) for partition in partitions])
    for partition, rows in zip(partitions, answers, strict=True):
        yield partition, [hour for _, hour, last in rows if last >= position.get(partition, 0)]


def _merged(
    store: Store, partition: int, hours: Iterable[int], start: int, end: int, limit: int
) -> tuple[list[AnomalyRow], int]:
    """Rows of several hours by offset, and how far they are complete.

    Hours may overlap in offsets where producers set the record time. An hour cut short by the limit bounds them all.
    """
    found = [feed(store, hour, partition, start - 1, limit, end) for hour in hours]
    to = min((rows[-1].kafka_offset + 1 for rows in found if len(rows) == limit), default=end)
    rows = sorted((row for rows in found for row in rows), key=lambda row: row.kafka_offset)
    return [row for row in rows if row.kafka_offset < to], to
