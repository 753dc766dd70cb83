"""What is told to Alertmanager, of silent stations and of groups: the parts that need no server."""

from __future__ import annotations

import numpy as np
import pytest

from alarms.alerts import alerts_of, labels_of, rfc3339
from alarms.group_scope import table
from alarms.silent import SilentStations, begun
from storage.tables.alarms import SILENT, AlarmRow
from storage.tables.minutes import MinuteRow, SensorMinute
from storage.tables.stations import Heard

NOW = 1_795_000_000_000


def heard(station: str, ago_ms: int, interval: float | None = 1.0) -> Heard:
    return Heard(station, NOW - ago_ms, 100, interval)


def row(station: str, severity: float, first_ms: int = NOW, **changes: object) -> AlarmRow:
    silent = begun(heard(station, 0))
    told = {"kind": "anomaly", "severity": severity, "first_record_ms": first_ms, "sentence": f"{severity}"}
    return silent._replace(**{**told, **changes})


def test_a_silent_station_is_one_alarm_until_it_speaks() -> None:
    """Breaks when silence is told twice, never, or goes on after the station is heard again."""
    stations = SilentStations()
    assert stations.look({"a": heard("a", 59_000), "b": heard("b", 61_000)}, NOW) != set()
    (key,) = stations.open
    assert (key.station_id, key.begun_ms, key.kind) == ("b", NOW - 61_000, SILENT)
    assert stations.open[key].notified_ms == NOW - 1000
    again = SilentStations(stations.open.values())
    assert again.look({"b": heard("b", 61_000)}, NOW) == set(), "a process that begins again finds nothing new"
    assert again.look({"b": heard("b", 61_000)}, NOW + 1_800_000) == {key}
    assert again.open[key].severity == 80.0
    again.look({"b": heard("b", -5000)}, NOW + 1_800_000)
    assert again.open[key].closed_ms == NOW + 5000


@pytest.mark.parametrize(("interval", "raised_after_ms"), [(1.0, 60_000), (300.0, 1_500_000), (None, 60_000)])
def test_silence_is_raised_when_the_one_definition_says_so(interval: float | None, raised_after_ms: int) -> None:
    """Breaks when slow stations are called silent between two readings."""
    assert begun(heard("a", 0, interval)).notified_ms == NOW + raised_after_ms


def test_alarms_of_a_station_that_follow_closely_are_one_alert() -> None:
    """Breaks when a flapping station notifies again and again, or an alert's labels are without bound."""
    found = alerts_of([row("a", 80.0, NOW + 5000), row("a", 90.0, NOW), row("b", 30.0), row("a", 55.0)], lambda _: "u")
    assert [tuple(labels) for labels in found] == [
        ("StationAnomaly", "b", "minor", ""), ("StationAnomaly", "a", "major", ""),
        ("StationAnomaly", "a", "critical", ""),
    ]  # fmt: skip
    worst = found[labels_of(row("a", 90.0))]
    assert (worst.starts_ms, worst.annotations["summary"]) == (NOW, "a: 90.0")
    document = worst.document(NOW + 300_000)
    assert document["labels"] == {"alertname": "StationAnomaly", "station": "a", "severity": "critical"}
    assert document["endsAt"] == rfc3339(NOW + 300_000)
    grouped = labels_of(row("a", 10.0, group="hall", kind=SILENT)).shown()
    assert grouped == {"alertname": "StationSilent", "station": "a", "severity": "warning", "group": "hall"}


def test_minutes_become_a_table_with_holes() -> None:
    """Breaks when a minute lands in another's column, or one without a band counts as known."""
    band = SensorMinute(1.0, 2.0, 3.0, 60, 0.5, 2.5, 4.5)
    rows = [
        MinuteRow("a", NOW + 60_000, {"noise": band}, 60),
        MinuteRow("a", NOW + 120_000, {"noise": band._replace(lower=None)}, 60),
        MinuteRow("a", NOW + 180_000, {"temperature": band}, 60),
    ]
    found = table(rows, "noise", NOW, 4)
    assert found[:, 1].tolist() == [2.0, 0.5, 2.5, 4.5]
    assert np.isnan(found[:, [0, 2, 3]]).all()
