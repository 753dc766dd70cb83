"""Columns of numbers for the charts: a station's values, their spread and their typical band over one grid of times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.times import MINUTE_MS
from storage.tables.minutes import MinuteRow, SensorMinute
from storage.tables.readings import ReadingRow

COLUMNS = ("value", "least", "most", "lower", "typical", "upper")
POINTS = 1200
"""Most points that a chart gets: about one a pixel."""


@dataclass(frozen=True)
class Series:
    """Values of a station over time.

    Args:
        times: (n,) int64, ms since the epoch, ascending.
        cells: (n, n_sensors, 6) float64 in the sensors' units, columns as `COLUMNS`; NaN where nothing is known.
    """

    times: np.ndarray
    cells: np.ndarray

    def __len__(self) -> int:
        return len(self.times)


def of_minutes(rows: Iterable[MinuteRow], names: Sequence[str]) -> Series:
    """Minutes as they are stored; a sensor that measured nothing in a minute is NaN there."""
    times, cells = [], []
    for row in rows:
        times.append(row.minute_ms)
        cells.append([_cell(row.sensors.get(name)) for name in names])
    return Series(np.array(times, np.int64), _cells(cells, len(names)))


def of_readings(rows: Iterable[ReadingRow], bands: Series, names: Sequence[str]) -> Series:
    """Readings as they are stored, each with the typical band of its minute."""
    times, values = [], []
    for row in rows:
        times.append(row.event_ms)
        values.append([row.sensors.get(name, np.nan) for name in names])
    cells = np.full((len(times), len(names), len(COLUMNS)), np.nan)
    if times:
        cells[:, :, :3] = np.array(values, np.float64)[:, :, np.newaxis]
        if len(bands):
            # The newest minutes are written a little later than their readings: the band before them holds on.
            place = np.searchsorted(bands.times, times, side="right") - 1
            known = (place >= 0) & (np.array(times) - bands.times[place] < 5 * MINUTE_MS)
            cells[known, :, 3:] = bands.cells[place[known], :, 3:]
    return Series(np.array(times, np.int64), cells)


def thinned(series: Series, width_ms: int) -> Series:
    """Means, least and most over steps of `width_ms`, so that no excursion is lost however far one zooms out."""
    if not len(series) or width_ms <= 1:
        return series
    steps = series.times - series.times % width_ms
    starts = np.flatnonzero(np.append(True, np.diff(steps) != 0))
    known = np.isfinite(series.cells)
    many = np.add.reduceat(known, starts, axis=0)
    cells = np.add.reduceat(np.where(known, series.cells, 0.0), starts, axis=0) / np.where(many > 0, many, 1)
    cells[:, :, 1] = np.minimum.reduceat(np.where(known[:, :, 1], series.cells[:, :, 1], np.inf), starts, axis=0)
    cells[:, :, 2] = np.maximum.reduceat(np.where(known[:, :, 2], series.cells[:, :, 2], -np.inf), starts, axis=0)
    cells[many == 0] = np.nan
    return Series(steps[starts], cells)


def width_for(span_ms: int, step_ms: int) -> int:
    """Length of a step that leaves at most `POINTS` of them, a multiple of `step_ms`."""
    return step_ms * max(1, -(-span_ms // (POINTS * step_ms)))


def joined(parts: Sequence[Series], sensors: int) -> Series:
    """Series one after the other."""
    held = [part for part in parts if len(part)]
    if not held:
        return Series(np.empty(0, np.int64), _cells([], sensors))
    return Series(np.concatenate([part.times for part in held]), np.concatenate([part.cells for part in held]))


def document(series: Series, names: Sequence[str], gap_ms: int) -> dict[str, Any]:
    """Plain columns for the script; a stretch without readings that is longer than `gap_ms` holds a null."""
    times, cells = series.times, series.cells
    gaps = np.flatnonzero(np.diff(times) > gap_ms) + 1
    times = np.insert(times, gaps, times[gaps - 1] + gap_ms // 2)
    cells = np.insert(cells, gaps, np.nan, axis=0)
    return {
        "times": times.tolist(),
        "sensors": {
            name: {column: _plain(cells[:, at, number]) for number, column in enumerate(COLUMNS)}
            for at, name in enumerate(names)
        },
    }


def _cell(held: SensorMinute | None) -> list[float]:
    if held is None:
        return [np.nan] * len(COLUMNS)
    cell = (held.mean, held.minimum, held.maximum, held.lower, held.typical, held.upper)
    return [np.nan if value is None else value for value in cell]


def _cells(cells: list[Any], sensors: int) -> np.ndarray:
    return np.array(cells, np.float64).reshape(len(cells), sensors, len(COLUMNS))


def _plain(column: np.ndarray) -> list[float | None]:
    """Six digits are more than a pixel shows; null where nothing is known."""
    return [None if value != value else float(f"{value:.6g}") for value in column.tolist()]
