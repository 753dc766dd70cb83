"""Keeps `anomaly_counts`: follows the feed and counts anew, whole, what it touched.

A count that is done twice, or by two processes, is the same count; of two that overlap, the one that began later wins.
So the lease that one process holds spares work and is no matter of correctness.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from core.times import DAY_MS, HOUR_MS, floored
from storage.driver.session import Store, statement
from storage.tables import stream_progress
from storage.tables.anomalies import time_slot
from storage.tables.anomaly_counts import Partition, count_partitions
from storage.tables.anomaly_feed import Position, arrived
from storage.tables.anomaly_scan import partitions_of

TIME_ROW = -1
LIMIT = 2000
PARTITIONS_A_STEP = 64
PAST_PAUSE_MS = 10_000
PRESENT_PAUSE_MS = 300_000

UPDATE_POSITION = statement("UPDATE counts_progress SET counted_to = ? WHERE topic = ? AND kafka_partition = ?")
UPDATE_TIME = statement("UPDATE counts_progress SET time = ? WHERE topic = ? AND kafka_partition = ?")
SELECT = statement("SELECT kafka_partition, counted_to, toUnixTimestamp(time) FROM counts_progress WHERE topic = ?")


def kept_before(now_ms: int) -> int:
    """Start of the first hour that readers count directly: the present one, and the one before, still change."""
    return floored(now_ms, HOUR_MS) - HOUR_MS


def counts_hold_since(store: Store, topic: str) -> int | None:
    """The moment up to which every past hour is counted, ms since the epoch; None before the first time."""
    return {row[0]: row[2] for row in store.rows(SELECT, (topic,))}.get(TIME_ROW)


class Touch(NamedTuple):
    """Where the feed stood before a partition was touched, and when that was noticed, ms since the epoch."""

    before: Position
    noticed_ms: int


class Recounter:
    """One reader of the feed.

    Args:
        store: where.
        topic: the readings' topic.
        clock_us: µs since the epoch.
        feed_days: how far back, by record time, the feed is looked through; Kafka's retention bounds it.
    """

    def __init__(self, store: Store, topic: str, clock_us: Callable[[], int], feed_days: float) -> None:
        self._store = store
        self._topic = topic
        self._clock_us = clock_us
        self._feed_ms = int(feed_days * DAY_MS)
        self._position: Position | None = None
        # In the order they were touched first; nothing behind the first one's position may be called counted.
        self._touched: dict[Partition, Touch] = {}
        self._counted_ms: dict[Partition, int] = {}

    def step(self) -> int:
        """Read what arrived, count some of what is due; returns how many partitions are due still.

        Raises:
            StoreUnavailable: Cassandra is away; the next step goes on.
        """
        begun_ms = self._clock_us() // 1000
        behind = self._follow(begun_ms)
        due = [partition for partition in self._touched if self._is_due(partition, begun_ms)]
        count_partitions(self._store, due[:PARTITIONS_A_STEP], self._clock_us)
        for partition in due[:PARTITIONS_A_STEP]:
            self._counted_ms[partition] = begun_ms
            del self._touched[partition]
        self._note(begun_ms)
        if not behind:
            past = (touch.noticed_ms for (hour, _), touch in self._touched.items() if hour < kept_before(begun_ms))
            self._store.one(UPDATE_TIME, (min(past, default=begun_ms), self._topic, TIME_ROW))
        return len(due[PARTITIONS_A_STEP:]) + behind

    def _follow(self, now_ms: int) -> bool:
        """Note what arrived; whether more waits."""
        progress = stream_progress.progress(self._store, self._topic).partitions
        complete = {partition: row.complete_to for partition, row in progress.items() if row.complete_to is not None}
        if self._position is None:
            self._begin(complete, now_ms)
        before = dict(self._position or {})
        found = arrived(self._store, before, complete, now_ms - self._feed_ms, LIMIT)
        touch = Touch(before, now_ms)
        for row in found.rows:
            self._touched.setdefault((floored(row.event_ms, HOUR_MS), time_slot(row.station_id)), touch)
        self._position = found.position
        return found.more

    def _begin(self, complete: Position, now_ms: int) -> None:
        """Go on where the last reader stopped; the very first one counts everything there is."""
        stored = {row[0]: row[1] for row in self._store.rows(SELECT, (self._topic,)) if row[1] is not None}
        if not stored:
            oldest_ms = max(0, now_ms - (self._store.config.anomalies_ttl_days + 31) * DAY_MS)
            there = partitions_of(self._store, oldest_ms, now_ms + DAY_MS)
            self._touched = dict.fromkeys(there, Touch({}, 0))
        self._position = stored or dict(complete)

    def _is_due(self, partition: Partition, now_ms: int) -> bool:
        """Past hours soon, those that still change now and then: readers count these themselves."""
        pause = PAST_PAUSE_MS if partition[0] < kept_before(now_ms) else PRESENT_PAUSE_MS
        return now_ms - self._counted_ms.get(partition, -PRESENT_PAUSE_MS) >= pause

    def _note(self, now_ms: int) -> None:
        """Store how far everything is counted, and forget what no longer changes."""
        first = next(iter(self._touched.values()), None)
        position = first.before if first else self._position
        for partition, offset in (position or {}).items():
            self._store.one(UPDATE_POSITION, (offset, self._topic, partition))
        old = [partition for partition, at in self._counted_ms.items() if at < now_ms - PRESENT_PAUSE_MS]
        for counted in old:
            del self._counted_ms[counted]
