"""The views of a recorded run: one address of each kind of page, and the anomalies that differ in kind."""

from __future__ import annotations

import json

from api.pages.links import anomaly_url, station_url
from storage.tables.anomalies import AnomalyRow
from tests.browser.recorded_run import IMPLAUSIBLE, RecordedRun


def worst_anomaly(run: RecordedRun) -> AnomalyRow:
    """The worst reading of the station whose faults are the largest."""
    return max(run.anomalies([run.plant.ids[IMPLAUSIBLE]]), key=lambda row: row.severity)


def views_of(run: RecordedRun) -> dict[str, str]:
    """View → its path."""
    return {
        "plant": "/",
        "wall": "/?wall=1",
        "station": f"{station_url(run.plant.ids[IMPLAUSIBLE])}?range=15m",
        "anomaly": anomaly_url(*worst_anomaly(run)[:3]),
        "alarms": "/alarms",
        "model": "/model",
        "missing": "/stations/nobody",
    }


def kinds_of_anomaly(run: RecordedRun) -> dict[str, AnomalyRow]:
    """One anomaly of each kind that a page can tell apart: by its rules, likely cause and recommended action."""
    kinds = {}
    for row in run.anomalies():
        verdict = json.loads(row.verdict)
        parts = (*verdict["rules"], verdict["cause"]["hint"], verdict["action"]["text"])
        kinds.setdefault(" / ".join(parts), row)
    return kinds
