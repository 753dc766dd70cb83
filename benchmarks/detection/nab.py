"""The score of the Numenta Anomaly Benchmark, standard profile, by its own formulas.

A window found gives up to 1, the earlier the more; a window missed costs 1; each flagged row outside costs up to 0.11,
less just behind a window. One threshold for all series, the one that scores best, and the sum is put on a scale where a
detector that says nothing has 0 and one that flags the first row of each window, and nothing else, has 100.

Source: Lavin, Ahmad 2015, "Evaluating Real-time Anomaly Detection Algorithms", and `sweeper.py` of numenta/NAB.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FOUND, FALSE_ALARM, MISSED = 1.0, 0.11, 1.0
_PROBATION, _LONGEST_PROBATION = 0.15, 750
_FAR_BEHIND = 3.0  # window widths behind a window from which a false alarm costs all
OUTSIDE, ON_PROBATION = -1, -2


@dataclass(frozen=True)
class LabelledSeries:
    """Scores of one series.

    Args:
        score: (n,) float64 in order of rows, high is abnormal.
        windows: labelled windows as (first row, last row), both inside, ascending, not overlapping.
    """

    score: np.ndarray
    windows: Sequence[tuple[int, int]]


@dataclass(frozen=True)
class NabScore:
    """A score of all series together.

    Args:
        score: 0 for a detector that says nothing, 100 for a perfect one; below 0 for one that is worse than silence.
        threshold: rows with at least this score count as flagged; infinite when silence is best.
        windows: labelled windows behind the probation.
        found: how many of them hold a flagged row.
        false_rows: flagged rows outside windows.
    """

    score: float
    threshold: float
    windows: int
    found: int
    false_rows: int


def probation(n_rows: int) -> int:
    """Return how many rows at the beginning of a series are for learning and not judged."""
    return min(math.floor(_PROBATION * n_rows), _LONGEST_PROBATION)


def scaled_sigmoid(position: np.ndarray) -> np.ndarray:
    """Return what a flagged row is worth at a position, in window widths from the window's last row, (n,) float64."""
    return np.where(position >= _FAR_BEHIND, -1.0, 2.0 / (1.0 + np.exp(5.0 * np.minimum(position, _FAR_BEHIND))) - 1.0)


def row_worth(n_rows: int, windows: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return what flagging each row is worth, (n,) float64, and its window's number, `OUTSIDE` or `ON_PROBATION`.

    Raises:
        ValueError: windows that overlap or leave the series.
    """
    row = np.arange(n_rows, dtype=np.float64)
    position, window = np.full(n_rows, _FAR_BEHIND), np.full(n_rows, OUTSIDE)
    before = -1
    for number, (first, last) in enumerate(windows):
        if not before < first <= last < n_rows:
            raise ValueError(
                f"window {number} is rows {first} to {last}: expected {before + 1} to {n_rows - 1} at most"
            )
        width, before = last - first + 1, last
        window[first : last + 1] = number
        position[first : last + 1] = -(last - row[first : last + 1] + 1) / width
        position[last + 1 :] = (row[last + 1 :] - last) / max(width - 1, 1e-9)
    worth = scaled_sigmoid(position)
    inside = window >= 0
    worth = np.where(inside, worth * FOUND / scaled_sigmoid(np.array(-1.0)), worth * FALSE_ALARM)
    window[: probation(n_rows)] = ON_PROBATION
    return worth, window


def nab_score(series: Sequence[LabelledSeries], threshold: float | None = None) -> NabScore:
    """Score a detector on all series at one threshold.

    Args:
        series: scores and windows.
        threshold: flags rows with at least this score. None takes the threshold that scores best.
    """
    score, worth, window = _together(series)
    order = np.lexsort((-worth, -score))
    score, worth, window = score[order], worth[order], window[order]
    n_windows = len(np.unique(window[window >= 0]))
    gains, opens = _gains(worth, window)
    # Rows of equal score are flagged together: only the last of them is a threshold.
    ends = np.flatnonzero(np.append(score[1:] != score[:-1], len(score) > 0))
    raw = np.append(-MISSED * n_windows, -MISSED * n_windows + np.cumsum(gains)[ends])
    thresholds = np.append(np.inf, score[ends])
    chosen = int(np.argmax(raw) if threshold is None else np.flatnonzero(thresholds >= threshold)[-1])
    flagged = slice(0, 0 if chosen == 0 else ends[chosen - 1] + 1)
    scale = (FOUND + MISSED) * n_windows
    return NabScore(
        score=100.0 * float(raw[chosen] + MISSED * n_windows) / scale if scale else math.nan,
        threshold=float(thresholds[chosen]) if threshold is None else threshold,
        windows=n_windows,
        found=int(opens[flagged].sum()),
        false_rows=int((window[flagged] == OUTSIDE).sum()),
    )


def _together(series: Sequence[LabelledSeries]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Score, worth and window, numbered through, of all rows behind the probation."""
    parts, windows_so_far = [], 0
    for one in series:
        worth, window = row_worth(len(one.score), one.windows)
        window[window >= 0] += windows_so_far
        windows_so_far += len(one.windows)
        judged = window != ON_PROBATION
        parts.append((np.asarray(one.score, dtype=np.float64)[judged], worth[judged], window[judged]))
    score, worth, window = (np.concatenate(column) for column in zip(*parts, strict=True))
    if np.isnan(score).any():
        raise ValueError(f"{int(np.isnan(score).sum())} of {len(score)} scores are NaN; every row needs a score")
    return score, worth, window


def _gains(worth: np.ndarray, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What each row adds as the threshold falls from row to row, and whether it is the first of its window."""
    gains, opens = worth.copy(), np.zeros(len(worth), dtype=bool)
    order = np.argsort(window, kind="stable")
    order = order[window[order] >= 0]
    starts = np.flatnonzero(np.append(True, np.diff(window[order]) != 0)) if len(order) else order
    for rows in np.split(order, starts[1:]):
        if len(rows):
            best = np.maximum.accumulate(np.append(-MISSED, worth[rows]))
            gains[rows] = np.diff(best)
            opens[rows[0]] = True
    return gains, opens
