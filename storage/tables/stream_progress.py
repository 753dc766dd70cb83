"""What the stream must find again after a restart: its identity, its progress, which version judges which offset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from storage.driver.retry import DEADLINE_SECONDS, OnWait, Patience
from storage.driver.session import Store, statement
from storage.driver.writes import write_rows

HEARTBEAT_ROW = -1


class StreamIdentity(NamedTuple):
    """What a keyspace's stream was begun with, and keeps. `sensors` is JSON; times in ms since the epoch."""

    topic: str
    sensors: str
    shards: int
    false_alarm_budget: float
    prior_sha256: str
    created_ms: int


class PartitionProgress(NamedTuple):
    """Offsets of one Kafka partition, None where nothing was written yet.

    Every offset below `complete_to` is stored, the last ones judged by `model_version`; none at or above
    `started_to` was ever begun.
    """

    complete_to: int | None
    started_to: int | None
    model_version: int | None


class Progress(NamedTuple):
    """How far the stream got, and its last sign of life in ms since the epoch (None: never)."""

    partitions: dict[int, PartitionProgress]
    heartbeat_ms: int | None


Activations = dict[int, list[tuple[int, int]]]
"""Kafka partition → (from_offset, version), by from_offset."""

INSERT_IDENTITY = statement("""
INSERT INTO stream_identity (topic, sensors, shards, false_alarm_budget, prior_sha256, created_time)
VALUES (?, ?, ?, ?, ?, ?) IF NOT EXISTS""")
SELECT_IDENTITY = statement("""
SELECT topic, sensors, shards, false_alarm_budget, prior_sha256, toUnixTimestamp(created_time)
FROM stream_identity WHERE topic = ?""")
UPDATE_STARTED = statement("""
UPDATE stream_progress USING TIMESTAMP ? SET started_to = ? WHERE topic = ? AND kafka_partition = ?""")
UPDATE_COMPLETE = statement("""
UPDATE stream_progress USING TIMESTAMP ? SET complete_to = ?, model_version = ?
WHERE topic = ? AND kafka_partition = ?""")
UPDATE_HEARTBEAT = statement("UPDATE stream_progress SET time = ? WHERE topic = ? AND kafka_partition = ?")
SELECT_PROGRESS = statement("""
SELECT kafka_partition, complete_to, started_to, model_version, toUnixTimestamp(time)
FROM stream_progress WHERE topic = ?""")
INSERT_ACTIVATION = statement("""
INSERT INTO model_activations (topic, kafka_partition, from_offset, model_version, activated_time)
VALUES (?, ?, ?, ?, ?)""")
SELECT_ACTIVATIONS = statement(
    "SELECT kafka_partition, from_offset, model_version FROM model_activations WHERE topic = ?"
)


def stream_identity(store: Store, topic: str) -> StreamIdentity | None:
    """The identity this keyspace was given, or None before the first start."""
    row = store.one(SELECT_IDENTITY, (topic,))
    return None if row is None else StreamIdentity._make(row)


def claim_identity(
    store: Store, identity: StreamIdentity, deadline_seconds: float = DEADLINE_SECONDS, on_wait: OnWait | None = None
) -> StreamIdentity:
    """Write the identity unless there is one already; the caller compares what is returned with what it wanted.

    Returns:
        The identity that holds from here on: this one, or the one stored before.
    """

    def claim() -> StreamIdentity:
        store.one(INSERT_IDENTITY, identity)
        # Read in any case: an answer lost on the way leaves open who wrote it, and the row alone knows.
        return stream_identity(store, identity.topic) or identity

    return Patience(deadline_seconds, on_wait).call(claim)


def mark_started(
    store: Store,
    topic: str,
    to: Mapping[int, int],
    deadline_seconds: float = DEADLINE_SECONDS,
    on_wait: OnWait | None = None,
) -> None:
    """Say, before a batch, that offsets below `to` (partition → offset) may be begun. Never goes back."""
    rows = ((topic, (_never_back(offset), offset, topic, partition)) for partition, offset in to.items())
    write_rows(store, UPDATE_STARTED, rows, deadline_seconds, on_wait)


def mark_complete(
    store: Store,
    topic: str,
    to: Mapping[int, int],
    version: int,
    deadline_seconds: float = DEADLINE_SECONDS,
    on_wait: OnWait | None = None,
) -> None:
    """Say, after a batch, that every offset below `to` is stored. Never goes back.

    Args:
        store: where to.
        topic: the readings' topic.
        to: partition → first offset not stored; only partitions that moved.
        version: of the model that judged the last offsets.
        deadline_seconds: how long trouble is waited out, s.
        on_wait: told about each pause.
    """
    rows = ((topic, (_never_back(offset), offset, version, topic, partition)) for partition, offset in to.items())
    write_rows(store, UPDATE_COMPLETE, rows, deadline_seconds, on_wait)


def heartbeat(store: Store, topic: str, now_ms: int) -> None:
    """Give a sign of life. One attempt: the next sign comes soon.

    Raises:
        StoreUnavailable: Cassandra is away.
    """
    store.one(UPDATE_HEARTBEAT, (now_ms, topic, HEARTBEAT_ROW))


def progress(store: Store, topic: str) -> Progress:
    """How far the stream got on every partition, and when it last gave a sign."""
    rows = {row[0]: row for row in store.rows(SELECT_PROGRESS, (topic,))}
    sign = rows.pop(HEARTBEAT_ROW, None)
    partitions = {partition: PartitionProgress(*row[1:4]) for partition, row in rows.items()}
    return Progress(partitions, sign[4] if sign else None)


def activations(store: Store, topic: str) -> Activations:
    """Which version judges each partition from which offset on."""
    found: Activations = {}
    for partition, from_offset, version in store.rows(SELECT_ACTIVATIONS, (topic,)):
        found.setdefault(partition, []).append((from_offset, version))
    return found


def activate(
    store: Store,
    topic: str,
    from_offsets: Mapping[int, int],
    version: int,
    now_ms: int,
    deadline_seconds: float = DEADLINE_SECONDS,
    on_wait: OnWait | None = None,
) -> Activations:
    """Write, ahead of the first batch it applies to, that `version` judges from these offsets on.

    An activation at the very same offset is replaced: the caller knows that nothing from there on was judged.

    Returns:
        All activations as they are stored, which are the ones to judge by.
    """
    rows = ((topic, (topic, partition, offset, version, now_ms)) for partition, offset in from_offsets.items())
    write_rows(store, INSERT_ACTIVATION, rows, deadline_seconds, on_wait)
    return Patience(deadline_seconds, on_wait).call(activations, store, topic)


def _never_back(offset: int) -> int:
    """Write timestamp that lets the larger offset win, whichever is written last; 0 is kept from Cassandra."""
    return offset + 1
