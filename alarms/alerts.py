"""Alarms as Alertmanager's alerts. What identifies an alert are its labels, so they are few and bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from core.peer_comparison import ONE_STATION, WHOLE_HALL
from core.verdict import severity_class
from storage.tables.alarms import SILENT, AlarmRow

NAMES = {False: "StationAnomaly", True: "StationSilent"}
SCOPES = {
    WHOLE_HALL: "The whole group is concerned.",
    ONE_STATION: "Of its group, this station alone is concerned.",
}


class Labels(NamedTuple):
    """What identifies an alert: alarms of a station that follow each other closely are one alert to people."""

    alertname: str
    station: str
    severity: str
    group: str

    def shown(self) -> dict[str, str]:
        """As Alertmanager takes them; an empty label is none to it."""
        return {name: value for name, value in self._asdict().items() if value}


class Alert(NamedTuple):
    """An alert that fires until `ends_ms`; times in ms since the epoch."""

    labels: Labels
    annotations: dict[str, str]
    starts_ms: int
    url: str

    def document(self, ends_ms: int) -> dict[str, Any]:
        """As Alertmanager's API v2 takes it."""
        return {
            "labels": self.labels.shown(),
            "annotations": self.annotations,
            "startsAt": rfc3339(self.starts_ms),
            "endsAt": rfc3339(ends_ms),
            "generatorURL": self.url,
        }


def labels_of(row: AlarmRow) -> Labels:
    """The labels of an alarm."""
    return Labels(NAMES[row.kind == SILENT], row.station_id, severity_class(row.severity), row.group)


def alerts_of(rows: Iterable[AlarmRow], link: Callable[[AlarmRow], str]) -> dict[Labels, Alert]:
    """One alert for each set of labels: the worst alarm speaks, the oldest says since when.

    Args:
        rows: alarms that people shall be told of.
        link: the address of an alarm's page.
    """
    found: dict[Labels, Alert] = {}
    for row in sorted(rows, key=lambda row: row.severity):
        labels = labels_of(row)
        held = found.get(labels)
        since = row.first_record_ms if held is None else min(row.first_record_ms, held.starts_ms)
        found[labels] = Alert(labels, _annotations(row, link(row)), since, link(row))
    return found


def _annotations(row: AlarmRow, link: str) -> dict[str, str]:
    told = {
        "summary": f"{row.station_id}: {row.sentence or 'abnormal readings'}",
        "description": SCOPES.get(row.scope, ""),
        "action": row.action,
        "sensor": row.sensor,
        "link": link,
    }
    return {name: text for name, text in told.items() if text}


def rfc3339(time_ms: int) -> str:
    """UTC with milliseconds."""
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time_ms % 1000:03d}Z"
