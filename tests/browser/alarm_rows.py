"""Alarms as the alarms process would have stored them of the demo's plant."""

from __future__ import annotations

from typing import Any

from storage.driver.session import Store
from storage.tables.alarms import SILENT, AlarmRow, write_alarms

MINUTE_MS = 60_000
LASTED_MS = 45_000


def alarm_row(index: int, begun_ms: int, severity: float = 80.0, **changes: Any) -> AlarmRow:
    """An alarm of a demo's station that is told and on."""
    row = AlarmRow(
        f"station-{index:04d}", begun_ms, index, "anomaly", index % 4, 100, 1, 300, (), 240, begun_ms,
        begun_ms + LASTED_MS, begun_ms + LASTED_MS, 0, severity, begun_ms + 1000, 5, severity, "temperature",
        "Temperature 41.2 °C is 16.1 above typical 25.1 (normal 19.2–31.0); humidity and noise normal.",
        "Check the sensor's mounting.", "hall-a", "one_station", begun_ms + 3000,
    )  # fmt: skip
    return row._replace(**changes)


def write_demo_alarms(store: Store, now_ms: int) -> list[AlarmRow]:
    """One of each kind and class."""
    rows = [
        alarm_row(3, now_ms - 6 * MINUTE_MS, 91.0, scope="whole_hall"),
        alarm_row(11, now_ms - 9 * MINUTE_MS, 60.0),
        alarm_row(8, now_ms - 12 * MINUTE_MS, 30.0, silenced_by="an-id"),
        alarm_row(5, now_ms - 13 * MINUTE_MS, 5.0, group="", scope="unknown"),
        alarm_row(17, now_ms - 23 * MINUTE_MS, 64.0, kind=SILENT, sentence="Nothing has been heard of station-0017."),
        alarm_row(3, now_ms - 90 * MINUTE_MS, 40.0, closed_ms=now_ms - 80 * MINUTE_MS),
    ]
    write_alarms(store, rows, now_ms * 1000)
    return rows
