"""Table `feedback`: what people said of anomalies. One row an anomaly; the last word holds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from core.times import DAY_MS, cql_date, steps
from storage.driver.session import Store, statement


class FeedbackRow(NamedTuple):
    """What was said of one anomaly. Times in ms since the epoch; `given_by` is a role."""

    station_id: str
    event_ms: int
    seq: int
    verdict: str
    comment: str
    given_ms: int
    given_by: str | None
    model_version: int


_COLUMNS = """
SELECT station_id, toUnixTimestamp(event_time), seq, verdict, comment, toUnixTimestamp(given_time), given_by,
    model_version
FROM feedback WHERE day = ? AND """
INSERT = statement("""
INSERT INTO feedback (day, station_id, event_time, seq, verdict, comment, given_time, given_by, model_version)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)""")
SELECT_BETWEEN = statement(_COLUMNS + "event_time >= ? AND event_time <= ?")


def put_feedback(store: Store, row: FeedbackRow) -> None:
    """Write what was said; again is harmless.

    Raises:
        StoreUnavailable: Cassandra is away.
    """
    store.one(INSERT, (cql_date(row.event_ms), *row))


def feedback_of(store: Store, identities: Iterable[tuple[str, int, int]]) -> dict[tuple[str, int, int], FeedbackRow]:
    """What was said of these anomalies, by (station_id, event_ms, seq); reads one partition a day."""
    days: dict[int, tuple[int, int]] = {}
    for _, event_ms, _ in identities:
        day = cql_date(event_ms)
        low, high = days.get(day, (event_ms, event_ms))
        days[day] = min(low, event_ms), max(high, event_ms)
    answers = store.rows_of_all(SELECT_BETWEEN, [(day, *edges) for day, edges in days.items()])
    rows = (FeedbackRow._make(found) for answer in answers for found in answer)
    return {row[:3]: row for row in rows}


def feedback_between(store: Store, start_ms: int, end_ms: int) -> list[FeedbackRow]:
    """Return what was said of anomalies with start_ms <= event time < end_ms; one partition a day."""
    days = [(cql_date(day), start_ms, end_ms - 1) for day in steps(start_ms, end_ms, DAY_MS)]
    return [FeedbackRow._make(row) for rows in store.rows_of_all(SELECT_BETWEEN, days) for row in rows]
