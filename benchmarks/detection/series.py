"""The labelled series of the Numenta Anomaly Benchmark, each a station of its own, judged by a detector."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.detection.detectors import Judge
from benchmarks.detection.nab import LabelledSeries, NabScore, nab_score, probation
from core.episodes import episodes
from core.sensors import Sensor
from models.evaluation.evaluation import point_auc
from models.scoring.history import History

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "validation" / "nab"
SENSORS = (Sensor("value"),)
_DAYS = 30.0


@dataclass(frozen=True)
class NabSeries:
    """One series.

    Args:
        name: of its file.
        history: one station.
        windows: labelled windows as (first row, last row).
        cadence: median step, s.
    """

    name: str
    history: History
    windows: list[tuple[int, int]]
    cadence: float

    @property
    def learning(self) -> int:
        """Rows at the beginning that are for learning and not judged."""
        return probation(len(self.history))


@dataclass(frozen=True)
class JudgedSeries:
    """What a detector said of a series: (n,) each."""

    series: NabSeries
    score: np.ndarray
    flagged: np.ndarray


def read_series(folder: Path = FOLDER) -> list[NabSeries]:
    """Read all series that `windows.json` names.

    Raises:
        FileNotFoundError: there is no `windows.json`.
        ValueError: a window that begins or ends beside the series' rows.
    """
    windows: dict[str, list[list[str]]] = json.loads((folder / "windows.json").read_text())
    return [_read(folder / name, limits) for name, limits in sorted(windows.items())]


def _read(path: Path, limits: list[list[str]]) -> NabSeries:
    table = pd.read_csv(path, parse_dates=["timestamp"])
    times = table["timestamp"].to_numpy().astype("datetime64[ms]").astype(np.int64)
    wanted = [
        [int(np.datetime64(edge.replace(" ", "T"), "ms").astype(np.int64)) for edge in window] for window in limits
    ]
    windows = [(_row_at(times, first, path), _row_at(times, last, path)) for first, last in wanted]
    rows = np.arange(len(times))
    values = table["value"].to_numpy(dtype=np.float64).reshape(-1, 1)
    history = History([path.stem] * len(times), times, times, rows, values)
    return NabSeries(path.name, history, windows, float(np.median(np.diff(times))) / 1000.0)


def _row_at(times: np.ndarray, moment: int, path: Path) -> int:
    """The first row of a moment, as the benchmark's own scorer takes it."""
    rows = np.flatnonzero(times == moment)
    if not len(rows):
        raise ValueError(f"{path.name}: windows.json names {np.datetime64(moment, 'ms')}, at which there is no row")
    return int(rows[0])


def evaluate_nab(
    detector: Judge, *, folder: Path = FOLDER, budget: float = 1.0, seed: int = 0, series: list[NabSeries] | None = None
) -> dict[str, Any]:
    """Return what a detector makes of the series; see `as_table`."""
    every = read_series(folder) if series is None else series
    return as_table([judged(detector, one, budget, seed) for one in every])


def judged(detector: Judge, series: NabSeries, budget: float, seed: int) -> JudgedSeries:
    """Let a detector learn from the first rows of a series and judge it."""
    training = np.arange(len(series.history)) < series.learning
    return JudgedSeries(series, *detector(series.history, training, SENSORS, budget, seed))


def as_table(results: Sequence[JudgedSeries]) -> dict[str, Any]:
    """Turn verdicts into plain numbers.

    `one_threshold` is NAB's standard score at the one threshold that is best for all series, `own_flags` the same for
    the detector's own flags. `windows_found`, `false_alarms_per_30_days` (episodes outside windows) and
    `readings_flagged` are of its own flags. `auc` is of all judged rows together, `auc_of_series` the mean over series.
    """
    best = nab_score([LabelledSeries(one.score, one.series.windows) for one in results])
    own = nab_score([LabelledSeries(one.flagged.astype(float), one.series.windows) for one in results], threshold=1.0)
    parts = [_judged_rows(one) for one in results]
    score, flagged, inside = (np.concatenate(column) for column in zip(*parts, strict=True))
    aucs = [point_auc(part[0], part[2]) for part in parts]
    alarms = np.array([_false_alarms(one) for one in results])
    return {
        "series": len(results),
        "one_threshold": _plain(best),
        "own_flags": _plain(own),
        "windows": own.windows,
        "windows_found": own.found,
        "false_alarms_per_30_days": _DAYS * float(alarms[:, 0].sum() / alarms[:, 1].sum()),
        "false_alarms_per_1440_readings": 1440.0 * float(alarms[:, 0].sum() / alarms[:, 2].sum()),
        "readings_flagged": float(flagged[~inside].mean()),
        "auc": point_auc(score, inside),
        "auc_of_series": float(np.mean([auc for auc in aucs if not math.isnan(auc)])),
    }


def _judged_rows(one: JudgedSeries) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Score, flag and whether inside a window, of the rows behind the learning stretch."""
    inside, rows = _inside(one.series), slice(one.series.learning, None)
    return one.score[rows], one.flagged[rows], inside[rows]


def _inside(series: NabSeries) -> np.ndarray:
    inside = np.zeros(len(series.history), dtype=bool)
    for first, last in series.windows:
        inside[first : last + 1] = True
    return inside


def _false_alarms(one: JudgedSeries) -> tuple[int, float, int]:
    """Episodes outside windows, and the days and rows there are outside."""
    n = len(one.flagged)
    outside = ~_inside(one.series) & (np.arange(n) >= one.series.learning)
    rows = int(outside.sum())
    count = episodes(np.zeros(n, dtype=np.int64), np.arange(n), one.flagged & outside).count
    return count, rows * one.series.cadence / 86_400.0, rows


def _plain(score: NabScore) -> dict[str, float]:
    return {"score": score.score, "threshold": score.threshold, "found": score.found, "false_rows": score.false_rows}
