"""Pictures of stations for the report: bounded in size however long the history is."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

SENSORS_SHOWN = 6
_BUCKETS = 500  # of each of which the least and the greatest value are drawn
_MARKS = 300
_DRAWABLE = (-62_130_000_000_000, 253_400_000_000_000)  # ms; years 1 to 9999, beyond which matplotlib knows no ticks
_INK, _FLAG, _FAULT, _TRAINED = "#1f4e79", "#c62828", "#f9a825", "#90a4ae"


@dataclass(frozen=True)
class Series:
    """One station's readings in order of time.

    Args:
        time_ms: (n,) int64.
        values: sensor → (n,) float64, NaN where missing.
        score: (n,) float64.
        flagged: (n,) bool.
        trained_to: ms, where the training readings end; None without any.
        faults: (start, end) in ms of labelled faults.
    """

    time_ms: np.ndarray
    values: dict[str, np.ndarray]
    score: np.ndarray
    flagged: np.ndarray
    trained_to: int | None
    faults: list[tuple[int, int]]


def picture(series: Series) -> str:
    """Draw a station: its sensors, and its score below; an SVG as a data URI. The same series gives the same bytes."""
    shown = dict(list(series.values.items())[:SENSORS_SHOWN])
    with mpl.rc_context({"svg.hashsalt": "stationwatch", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(11, 1.25 * (len(shown) + 1) + 0.3), layout="constrained")
        panels = figure.subplots(len(shown) + 1, 1, sharex=True, squeeze=False)[:, 0]
        for panel, (name, values) in zip(panels, shown.items(), strict=False):
            _line(panel, series.time_ms, values)
            marks = _marks(series, values)
            panel.plot(_moments(series.time_ms[marks]), values[marks], ".", color=_FLAG, markersize=4)
            panel.set_ylabel(name[:18])
        _line(panels[-1], series.time_ms, series.score)
        panels[-1].axhline(1.0, color=_FLAG, linewidth=0.7, linestyle="--")
        panels[-1].set_ylabel("score")
        for panel in panels:
            _surroundings(panel, series)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def thinned(values: np.ndarray, buckets: int = _BUCKETS) -> np.ndarray:
    """Return the rows to draw so that no peak is lost: the least and the greatest of each bucket, ascending.

    Args:
        values: (n,) float64, NaN where missing.
        buckets: of equally many rows; at most twice as many rows are returned.
    """
    n = len(values)
    if n <= 2 * buckets:
        return np.arange(n)
    begins = np.arange(buckets) * n // buckets
    rows = []
    for part, begin in zip(np.split(values, begins[1:]), begins.tolist(), strict=True):
        known = np.flatnonzero(~np.isnan(part))
        ends = {int(known[part[known].argmin()]), int(known[part[known].argmax()])} if len(known) else {0}
        rows += [begin + end for end in sorted(ends)]
    return np.array(rows)


def _line(panel: Axes, time_ms: np.ndarray, values: np.ndarray) -> None:
    rows = thinned(values)
    moments, drawn = time_ms[rows], values[rows]
    # A line across a gap would show readings that never were.
    step = np.diff(moments)
    gaps = np.flatnonzero(step > 20 * np.median(step)) + 1 if len(step) else step
    panel.plot(
        _moments(np.insert(moments, gaps, moments[gaps])), np.insert(drawn, gaps, np.nan), color=_INK, linewidth=0.7
    )
    if len(rows) < 3:
        panel.plot(_moments(moments), drawn, ".", color=_INK, markersize=3)


def _marks(series: Series, values: np.ndarray) -> np.ndarray:
    """Flagged rows with a value, the highest scores first, at most `_MARKS`."""
    rows = np.flatnonzero(series.flagged & ~np.isnan(values))
    return rows[np.argsort(-series.score[rows], kind="stable")[:_MARKS]]


def _surroundings(panel: Axes, series: Series) -> None:
    first, last = series.time_ms[0], series.time_ms[-1]
    if series.trained_to is not None:
        panel.axvspan(*_moments(np.array([first, series.trained_to])), color=_TRAINED, alpha=0.18, linewidth=0)
    for start, end in series.faults[:_MARKS]:
        # A fault of one reading would be too narrow to see.
        wide = max(end, start + (last - first) // 500)
        panel.axvspan(*_moments(np.array([start, wide])), color=_FAULT, alpha=0.3, linewidth=0)
    locator = AutoDateLocator(maxticks=10)  # type: ignore[no-untyped-call]
    panel.xaxis.set_major_locator(locator)
    panel.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    panel.spines[["top", "right"]].set_visible(False)
    room = max((last - first) // 100, 1000)
    panel.set_xlim(*_moments(np.clip(np.array([first - room, last + room]), *_DRAWABLE)))
    panel.grid(alpha=0.2)


def _moments(time_ms: np.ndarray) -> np.ndarray:
    return time_ms.astype("datetime64[ms]")
