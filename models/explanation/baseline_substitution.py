"""What a reading would be if some of its sensors had been typical. The common ground of every explanation.

A sensor made typical has its typical value, all its ratios at 0, none of its rules, and counts as known. How long the
station has been unusual is then at most what the sensors that are left show now: the block does not say whose doing it
was. How a sensor's departure shifted what is expected of the others stays with the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from core.verdict import Verdicts
from models.scoring.detector import Detector
from models.scoring.feature_block import COMMON, PER_SENSOR, PRESENT, SENSOR_WIDTH, Blocks

_LASTING = COMMON.index("lasting")
_TYPICAL = PER_SENSOR.index("typical")
_RATIO = len(PER_SENSOR)
# What a typical sensor shows in the other columns.
_SHOWN = {"quality": PRESENT, "weight": 1.0, "run": 1.0, "missing_run": 0.0}
_ROWS = 8192  # judged at once


def substituted(blocks: Blocks, kept: np.ndarray) -> Blocks:
    """Return the blocks once for each choice of sensors that keep what they reported; the others are made typical.

    Args:
        blocks: n readings.
        kept: (m, n_sensors) bool.

    Returns:
        m * n readings, choice after choice.
    """
    m, n, n_sensors = len(kept), len(blocks), len(blocks.sensors)
    rows = np.tile(blocks.rows, (m, 1, 1))
    cells = rows[:, :, len(COMMON) :].reshape(m, n, n_sensors, SENSOR_WIDTH)
    typical = np.broadcast_to(~kept[:, np.newaxis, :], (m, n, n_sensors))
    cells[..., _RATIO::2][typical] = 0.0
    cells[..., PER_SENSOR.index("value")][typical] = cells[..., _TYPICAL][typical]
    for column, shown in _SHOWN.items():
        cells[..., PER_SENSOR.index(column)][typical] = shown
    rows[:, :, len(COMMON) :] = cells.reshape(m, n, -1)
    left = np.abs(cells[..., _RATIO::2]).max(axis=(2, 3))
    some = ~kept.all(axis=1)
    rows[some, :, _LASTING] = np.minimum(rows[some, :, _LASTING], left[some])
    return Blocks(blocks.sensors, rows.reshape(m * n, -1))


def departures(detector: Detector, blocks: Blocks, kept: np.ndarray) -> np.ndarray:
    """Judge the readings under each choice of sensors; see `substituted`.

    Returns:
        (2, m, n) float64: of the whole verdict and of the forest alone, as multiples of the limit.
    """
    parts = [np.zeros((2, len(kept), 0))]
    for part in _parts(blocks, max(1, _ROWS // max(1, len(kept)))):
        verdicts = detector.judge(substituted(part, kept))
        both = np.stack([departure(verdicts), detector.forest_ratio(verdicts.forest)])
        parts.append(both.reshape(2, len(kept), len(part)))
    return np.concatenate(parts, axis=2)


def departure(verdicts: Verdicts) -> np.ndarray:
    """Return how far readings are from normal as a multiple of the limit, (n,) float64: the score, not logarithmic."""
    return np.where(verdicts.score > 1.0, np.exp(np.maximum(verdicts.score, 1.0) - 1.0), verdicts.score)


def choices(n_sensors: int) -> np.ndarray:
    """Return every choice of sensors, (2 ** n_sensors, n_sensors) bool; row r holds the bits of r."""
    return (np.arange(2**n_sensors)[:, np.newaxis] >> np.arange(n_sensors)) % 2 == 1


def _parts(blocks: Blocks, size: int) -> Iterator[Blocks]:
    for start in range(0, len(blocks), size):
        yield Blocks(blocks.sensors, blocks.rows[start : start + size])


def shapley_weights(n_sensors: int) -> np.ndarray:
    """Return the weight of what a sensor adds to a choice of each size, (n_sensors,) float64."""
    return np.array([1.0 / (n_sensors * math.comb(n_sensors - 1, size)) for size in range(n_sensors)])
