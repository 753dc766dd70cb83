"""What is said of a reading: its flags, its score and its severity."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntFlag

import numpy as np


class Flag(IntFlag):
    """Bits stored with every reading, beside those of the rules (`models.scoring.rules`): 16 to 128, and 512 on.

    INCOMPLETE: a value is missing; alone it is no anomaly.
    EXEMPT: it would have been flagged, and looks like what people called false alarms.
    """

    ANOMALY = 1
    LATE = 2
    WARMING_UP = 4
    INCOMPLETE = 8
    EXEMPT = 256


_CLASSES = ((75.0, "critical"), (50.0, "major"), (25.0, "minor"), (3.0, "warning"))


@dataclass(frozen=True)
class Verdicts:
    """Verdicts of many readings.

    Args:
        score: (n,) float64, 1 = at its own limit, logarithmic above. High is abnormal.
        severity: (n,) float32 in 0…100, 0 when not flagged.
        flags: (n,) int32 of `Flag`.
        forest: (n,) float64 raw anomaly score of the forest in (0, 1].
    """

    score: np.ndarray
    severity: np.ndarray
    flags: np.ndarray
    forest: np.ndarray

    @property
    def is_anomaly(self) -> np.ndarray:
        """(n,) bool."""
        return (self.flags & Flag.ANOMALY) != 0


def score_of(ratio: np.ndarray) -> np.ndarray:
    """Map multiples of the limit to scores: equal below 1, 1 + ln(ratio) above. (n,) float64.

    math.log and not numpy's: its last digit may depend on the place in the array, and a replay must give equal bytes.
    """
    score = ratio.astype(np.float64)
    for row in np.flatnonzero(score > 1.0).tolist():
        score[row] = 1.0 + math.log(score[row])
    return score


def severity_of(ratio: np.ndarray, flagged: np.ndarray) -> np.ndarray:
    """Map multiples of the limit to 0…100: twice the limit is 50, four times is 75. (n,) float32, 0 if not flagged."""
    return np.where(flagged, 100.0 * (1.0 - 1.0 / np.maximum(ratio, 1.0)), 0.0).astype(np.float32)


def severity_class(severity: float) -> str:
    """Name a severity as the HTTP contract does."""
    return next((name for least, name in _CLASSES if severity >= least), "low")
