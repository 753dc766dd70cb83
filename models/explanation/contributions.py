"""How much of a verdict is whose doing: each sensor's share, cheap enough for every flagged reading of the stream."""

from __future__ import annotations

import numpy as np

from models.explanation.baseline_substitution import departures
from models.scoring.detector import Detector
from models.scoring.feature_block import Blocks


def contributions(detector: Detector, blocks: Blocks) -> np.ndarray:
    """Return each sensor's share in the verdict.

    A sensor's part is the mean of two answers: how much less far the reading is when this sensor is made typical, and
    how far it is when only this one is not. The first alone would give nobody anything where two sensors each suffice,
    the second alone forgets what only several show together. It takes 2 * n_sensors verdicts, and is the Shapley value
    where there are one or two sensors; `shap_values` is exact for more.

    Args:
        detector: the version that judged.
        blocks: n readings.

    Returns:
        (n, n_sensors) float64, in 0…1, each row summing to 1; equal shares where no sensor carries anything, as in a
        gap.
    """
    n_sensors = len(blocks.sensors)
    if n_sensors == 1:
        return np.ones((len(blocks), 1))
    only = np.eye(n_sensors, dtype=bool)
    ends = np.array([np.zeros(n_sensors, bool), np.ones(n_sensors, bool)])
    far = departures(detector, blocks, np.concatenate([only, ~only, ends]))[0]
    alone, without = far[:n_sensors] - far[-2], far[-1] - far[n_sensors : 2 * n_sensors]
    return shares((0.5 * (alone + without)).T)


def shares(parts: np.ndarray) -> np.ndarray:
    """Return parts as shares of their sum, rows; what counts against the verdict has none."""
    positive = np.maximum(parts, 0.0)
    total = positive.sum(axis=1, keepdims=True)
    return np.where(total > 0.0, positive / np.where(total > 0.0, total, 1.0), 1.0 / parts.shape[1])
