"""ClosedMinutes minutes are written by columns where they can be, row by row otherwise, and each of them once."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from models.kernels.state_kernel import BAND, CLOSED_COLUMNS
from spark_jobs.tasks.packing import MINUTES, packed_floats
from spark_jobs.tasks.table_rows import ClosedMinutes
from storage.tables.minutes import MinuteRow, SensorMinute

NAMES = ("temperature", "humidity")
_SENSOR = st.tuples(st.integers(0, 3), st.booleans())


def stats_of(count: int, banded: bool, seed: float) -> list[float]:
    """mean, least, most, count, lower, typical, upper of one sensor."""
    held = [seed, seed - 1.0, seed + 1.0, float(count)] if count else [float("nan"), np.inf, -np.inf, 0.0]
    return held + ([seed - 3.0, seed, seed + 3.0] if banded else [float("nan"), float("nan"), np.inf])


@settings(deadline=None)
@given(st.lists(st.tuples(_SENSOR, _SENSOR), max_size=12))
def test_every_minute_is_written_once_as_it_closed(minutes: list[tuple[tuple[int, bool], tuple[int, bool]]]) -> None:
    """Breaks when a minute falls between the two ways, or a sensor without readings or band gets either."""
    stats = np.array(
        [[stats_of(*sensor, row + 0.5 * at) for at, sensor in enumerate(pair)] for row, pair in enumerate(minutes)]
    ).reshape(-1, len(NAMES), CLOSED_COLUMNS + BAND)
    columns = [
        pa.array([f"station-{row % 3}" for row in range(len(minutes))], pa.string()),
        pa.array([60_000 * row for row in range(len(minutes))], pa.int64()),
        pa.array([row + 1 for row in range(len(minutes))], pa.int64()),
        pa.array(packed_floats(stats, "<f8"), pa.binary()),
    ]
    closed = ClosedMinutes(pa.table(columns, schema=MINUTES), NAMES)
    expected = []
    for row, pair in enumerate(minutes):
        sensors = {}
        for at, (name, (count, banded)) in enumerate(zip(NAMES, pair, strict=True)):
            middle = row + 0.5 * at
            band = (middle - 3.0, middle, middle + 3.0) if banded else (None, None, None)
            if count:
                sensors[name] = SensorMinute(middle - 1.0, middle, middle + 1.0, count, *band)
        expected.append(MinuteRow(f"station-{row % 3}", 60_000 * row, sensors, row + 1))
    whole = closed.as_columns()
    found = list(closed.incomplete())
    for row, station in enumerate(whole.station.tolist()):
        parts = (whole.minimum[row], whole.mean[row], whole.maximum[row], whole.count[row], whole.band[row])
        sensors = {
            name: SensorMinute(float(least), float(mean), float(most), int(count), *map(float, band))
            for name, least, mean, most, count, band in zip(whole.names, *parts, strict=True)
        }
        minute = int(whole.minute_ms[row])
        found.append(MinuteRow(whole.stations[station], minute, sensors, int(whole.readings[row])))
    assert sorted(found, key=lambda row: row.minute_ms) == expected
    assert len(whole.station) == sum(all(count and banded for count, banded in pair) for pair in minutes)
