"""Table `feature_samples`: a bounded sample of the plant's readings, the same whatever the order they came in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from core.times import HOUR_MS, MINUTE_MS, floored, steps
from storage.driver.retry import DEADLINE_SECONDS, OnWait
from storage.driver.session import Store, statement
from storage.driver.writes import write_rows


class SampleRow(NamedTuple):
    """A reading that contends for a slot of its minute.

    `slot` and `rank` are hashes of the reading's identity; of all readings ever written to a slot the one with the
    largest rank (1..2**63-1) stays. Times in ms since the epoch; `block` as in models.scoring.feature_block.
    """

    event_ms: int
    slot: int
    rank: int
    station_id: str
    seq: int
    block: bytes
    ordinal: int
    score: float
    flags: int
    model_version: int


INSERT = statement("""
INSERT INTO feature_samples (hour, minute, slot, event_time, station_id, seq, block, ordinal, score, flags,
    model_version)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?""")
SELECT = statement("""
SELECT toUnixTimestamp(event_time), slot, writetime(seq), station_id, seq, block, ordinal, score, flags, model_version
FROM feature_samples WHERE hour = ?""")


def write_samples(
    store: Store, rows: Iterable[SampleRow], deadline_seconds: float = DEADLINE_SECONDS, on_wait: OnWait | None = None
) -> None:
    """Let these readings contend for their slots.

    Raises:
        StoreUnavailable: some row is not known to be written at the deadline; all may be written again.
    """
    write_rows(store, INSERT, map(_keyed, rows), deadline_seconds, on_wait)


def samples(store: Store, hour_ms: int) -> Iterator[SampleRow]:
    """Yield the samples of the hour that starts at `hour_ms`, by minute and slot."""
    return map(SampleRow._make, store.rows(SELECT, (hour_ms,)))


def samples_between(store: Store, start_ms: int, end_ms: int) -> Iterator[SampleRow]:
    """Yield the samples with start_ms <= event time < end_ms, hour by hour; each hour is one bounded partition."""
    for hour_ms in steps(start_ms, end_ms, HOUR_MS):
        yield from (row for row in samples(store, hour_ms) if start_ms <= row.event_ms < end_ms)


def _keyed(row: SampleRow) -> tuple[int, tuple[object, ...]]:
    hour = floored(row.event_ms, HOUR_MS)
    minute = (row.event_ms - hour) // MINUTE_MS
    return hour, (
        hour, minute, row.slot, row.event_ms, row.station_id, row.seq, row.block, row.ordinal, row.score, row.flags,
        row.model_version, row.rank,
    )  # fmt: skip
