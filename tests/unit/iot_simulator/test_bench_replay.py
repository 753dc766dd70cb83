"""The replay benchmark judges as NAB does."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.replay import Series, judge, read_series, write_readings
from core.sensors import Sensor
from iot_simulator.recorded import read_recorded

ROWS = [(f"2014-03-07 {n // 60:02d}:{n % 60:02d}:00", str(n)) for n in range(400)]


def test_windows_learning_and_false_episodes() -> None:
    """Breaks if learning rows are judged, an end of a window is lost, or each flagged reading counts as an episode."""
    series = Series(ROWS, [("2014-03-07 02:00:00.000000", "2014-03-07 02:10:00.000000"), (ROWS[300][0], ROWS[310][0])])
    found = judge("s", series, [5, 59, 60, 70, 81, 130, 131], {})
    assert found.learning_rows == 60 and found.flagged == 5
    assert [window["flagged"] for window in found.windows] == [1, 0]
    assert found.windows[0]["minutes_to_first"] == pytest.approx(10)
    # Rows 60 and 70 are one episode, 81 is another, 131 a third; 130 is the window's last row.
    assert found.false_episodes == 3


def test_the_converted_series_can_be_replayed(tmp_path: Path) -> None:
    """Breaks if the benchmark writes what the replay does not read."""
    (tmp_path / "x.csv").write_text("timestamp,value\n" + "\n".join(",".join(row) for row in ROWS) + "\n")
    series = read_series(tmp_path, "x.csv")
    assert series.windows == [] and series.rows == ROWS
    write_readings(series.rows, tmp_path / "out.csv")
    readings = read_recorded(tmp_path / "out.csv", (Sensor("latency", "ms"),))
    assert [(r.seq, r.values["latency"]) for r in readings] == [(n, float(n)) for n in range(400)]
