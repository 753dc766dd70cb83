"""The table of a running plant: a fault counts as seen by what was stored within it, and by nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from benchmarks.live_faults import Stored, seen, table
from models.evaluation.fault_models import Fault

START = datetime(2026, 3, 1, tzinfo=UTC)
START_MS = int(START.timestamp() * 1000)


def fault(kind: str, first: int, last: int, magnitude: float = 8.0, station: str = "s1") -> Fault:
    second = timedelta(seconds=1)
    return Fault(station, "noise", kind, START + first * second, START + last * second, magnitude)


def stored(*seconds: int) -> list[Stored]:
    return [Stored(START_MS + 1000 * second, second + 1) for second in seconds]


def test_seen_is_an_anomaly_of_the_same_station_within_the_span() -> None:
    faults = [
        fault("shift", 100, 150),
        fault("shift", 1000, 1050),
        fault("spike", 2000, 2001),
        fault("shift", 100, 150, station="s2"),
    ]
    anomalies = {"s1": stored(112, 990, 1050, 2002), "s2": []}
    found = seen(faults, anomalies.__getitem__, cadence=1.0, start_ms=START_MS, end_ms=START_MS + 3_600_000)
    assert found.delays == [12.0, None, 2.0, None]


def test_alarms_beside_faults_are_counted_as_episodes_and_the_aftermath_is_not() -> None:
    faults = [fault("shift", 100, 150)]
    anomalies = stored(50, 55, 120, 170, 209, 500)
    found = seen(faults, lambda _: anomalies, cadence=1.0, start_ms=START_MS, end_ms=START_MS + 1_000_000)
    assert found.false_alarms == 2
    assert found.station_days * 86_400 == pytest.approx(1000 - 50 - 60)


def test_the_table_splits_by_size_where_size_means_something() -> None:
    faults = [fault("shift", 100, 150), fault("shift", 500, 550, 3.5), fault("stuck", 900, 950)]
    lines = table(
        seen(faults, lambda _: stored(100, 930), cadence=1.0, start_ms=START_MS, end_ms=START_MS + 1)
    ).splitlines()
    cells = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in lines}
    assert cells["shift"] == ["0 of 1", "-", "1 of 1", "1 of 2", "0 s"]
    assert cells["stuck"] == ["-", "-", "-", "1 of 1", "30 s"]
    assert cells["all"] == ["0 of 1", "-", "1 of 1", "2 of 3", "15 s"]
