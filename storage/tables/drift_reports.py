"""Table `drift_reports`: what each drift check found. One row a check; the same check again is the same row."""

from __future__ import annotations

from typing import NamedTuple

from core.times import DAY_MS, cql_date, floored, steps
from storage.driver.session import Store, statement


class DriftSummary(NamedTuple):
    """A check in short. Time in ms since the epoch; `summary` is JSON, see `models.drift.report.DriftSummary`."""

    checked_ms: int
    model_version: int
    summary: str


INSERT = statement("""
INSERT INTO drift_reports (name, day, checked_time, model_version, summary, report) VALUES (?, ?, ?, ?, ?, ?)""")
SELECT_SUMMARIES = statement("""
SELECT toUnixTimestamp(checked_time), model_version, summary FROM drift_reports
WHERE name = ? AND day = ? AND checked_time >= ? AND checked_time < ?""")
SELECT_REPORT = statement("SELECT report FROM drift_reports WHERE name = ? AND day = ? AND checked_time = ?")


def put_report(store: Store, name: str, summary: DriftSummary, report: str) -> None:
    """Write a check of the model `name`; again is harmless.

    Raises:
        StoreUnavailable: Cassandra is away.
    """
    store.one(INSERT, (name, cql_date(summary.checked_ms), *summary, report))


def summaries(store: Store, name: str, start_ms: int, end_ms: int) -> list[DriftSummary]:
    """Return the checks with start_ms <= checked < end_ms, newest first; reads one partition a day."""
    days = [
        (name, cql_date(day_ms), max(start_ms, day_ms), min(end_ms, day_ms + DAY_MS))
        for day_ms in steps(floored(start_ms, DAY_MS), end_ms, DAY_MS, newest_first=True)
    ]
    return [DriftSummary._make(row) for rows in store.rows_of_all(SELECT_SUMMARIES, days) for row in rows]


def report(store: Store, name: str, checked_ms: int) -> str | None:
    """Return the whole report of a check, JSON; None when there is none."""
    row = store.one(SELECT_REPORT, (name, cql_date(checked_ms), checked_ms))
    return None if row is None else str(row[0])
