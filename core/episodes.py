"""Episodes: what counts as one alarm. The one definition, for alarms, tests and evaluation.

Flagged readings of one station that lie at most `GAP` readings apart, by ordinal, are one episode. An episode that
stays on counts again every `AGAIN` readings, so that a detector that never falls silent does not count as one alarm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

GAP = 10
AGAIN = 60


@dataclass(frozen=True)
class Episodes:
    """Episodes, ordered by station and first ordinal.

    Args:
        station: (m,) code of the station.
        first, last: (m,) int64, the input's row of the first and the last flagged reading.
        start, end: (m,) int64, ordinals of these two.
        readings: (m,) int64, flagged readings.
        counts: (m,) int64, how often the episode counts: 1, and 1 more for every `AGAIN` readings it lasts.
    """

    station: np.ndarray
    first: np.ndarray
    last: np.ndarray
    start: np.ndarray
    end: np.ndarray
    readings: np.ndarray
    counts: np.ndarray

    def __len__(self) -> int:
        return len(self.first)

    @property
    def count(self) -> int:
        """How often all of them count together."""
        return int(self.counts.sum())


def episodes(station: ArrayLike, ordinal: ArrayLike, flagged: ArrayLike) -> Episodes:
    """Gather flagged readings into episodes.

    Args:
        station: (n,) int, any code per station.
        ordinal: (n,) int, the station's count of readings. Rows may come in any order, also mixed over stations.
        flagged: (n,) bool.
    """
    stations, ordinals, rows, begins = _gathered(station, ordinal, flagged)
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(rows)) - 1 if len(first) else first
    start, end = ordinals[first], ordinals[last]
    return Episodes(stations[first], rows[first], rows[last], start, end, last - first + 1, 1 + (end - start) // AGAIN)


def counted(station: ArrayLike, ordinal: ArrayLike, flagged: ArrayLike) -> np.ndarray:
    """Return whether an episode counts at this row, (n,) bool: at its first reading and when it counts again.

    As many rows as `episodes(...).count`. Arguments as there.
    """
    _, ordinals, rows, begins = _gathered(station, ordinal, flagged)
    counts = np.zeros(len(np.asarray(flagged)), dtype=bool)
    if len(rows):
        start = ordinals[begins][np.cumsum(begins) - 1]
        period = (ordinals - start) // AGAIN
        # Gaps are shorter than a period, so each period of an episode holds a reading that opens it.
        counts[rows] = begins | np.append(True, period[1:] != period[:-1])
    return counts


def _gathered(
    station: ArrayLike, ordinal: ArrayLike, flagged: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return station, ordinal and row of the flagged readings in order, and whether each begins an episode."""
    codes, counts, chosen = np.asarray(station), np.asarray(ordinal, dtype=np.int64), np.asarray(flagged, dtype=bool)
    if not codes.shape == counts.shape == chosen.shape or chosen.ndim != 1:
        raise ValueError(
            f"episodes: station {codes.shape}, ordinal {counts.shape}, flagged {chosen.shape} must be (n,)"
        )
    rows = np.flatnonzero(chosen)
    rows = rows[np.lexsort((counts[rows], codes[rows]))]
    codes, counts = codes[rows], counts[rows]
    begins = np.ones(len(rows), dtype=bool)
    begins[1:] = (codes[1:] != codes[:-1]) | (np.diff(counts) > GAP)
    return codes, counts, rows, begins
