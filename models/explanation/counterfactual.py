"""The smallest change of one sensor's value that would make a flagged reading normal, on request.

A block says how far each witness is from its limit, not how it got there, so this is an estimate, with some of the
way to spare. Where the value has just jumped, the sensor's witnesses are taken to shrink in proportion as it nears
typical, and with them what the other sensors miss of it; its restlessness stays. Where it has been away for longer the
averages remember, whatever this reading had said: then a change can only end a run of equal or missing values. How
often it holds when the state really takes the changed reading: docs/explanations.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from core.sensors import Sensor
from models.explanation.sensor_findings import OWN
from models.kernels.columns import CROSS_BAND, CROSS_LEVEL, INNOVATION
from models.scoring.detector import Detector
from models.scoring.feature_block import COMMON, IMPLAUSIBLE, PER_SENSOR, PRESENT, SENSOR_WIDTH, Blocks

_STEPS = 20  # of bisection: a millionth of the distance
# The part of the sensor's largest ratio that `innovation` has where its value has just jumped; a reading later the
# averages have moved, and it is less.
_JUMP = 0.8
_SPARE = 0.15  # of the change, because it is an estimate
_VALUE, _QUALITY, _TYPICAL = (PER_SENSOR.index(name) for name in ("value", "quality", "typical"))
_RUN, _MISSING_RUN = PER_SENSOR.index("run"), PER_SENSOR.index("missing_run")
_RATIO = len(PER_SENSOR)
_LASTING = COMMON.index("lasting")


class Change(NamedTuple):
    """What one sensor would have had to report; sensor units.

    Args:
        sensor: name.
        actual: what it reported, None where missing.
        normal: the nearest value that would not have been flagged.
        change: normal - actual, None where missing.
    """

    sensor: str
    actual: float | None
    normal: float
    change: float | None


def smallest_change(detector: Detector, blocks: Blocks, catalogue: Sequence[Sensor]) -> list[Change | None]:
    """Return for each flagged reading the single-sensor change that makes it normal and is smallest for its sensor.

    Changes of different sensors are compared in widths of their normal bands.

    Args:
        detector: the version that judged.
        blocks: n flagged readings.
        catalogue: the stream's sensors, in the blocks' order.

    Returns:
        n changes, None where no change of one sensor suffices: several depart, a rule of the whole station fires, or
        the averages still remember what was.
    """
    n_sensors = len(catalogue)
    kept = np.zeros((len(blocks), n_sensors))
    normal_at_all = _normal(detector, blocks, kept, catalogue)
    low, high = kept, np.ones_like(kept)
    for _ in range(_STEPS):
        middle = 0.5 * (low + high)
        normal = _normal(detector, blocks, middle, catalogue)
        low, high = np.where(normal, middle, low), np.where(normal, high, middle)
    return [_smallest(blocks, row, low[row], normal_at_all[row], catalogue) for row in range(len(blocks))]


def _normal(detector: Detector, blocks: Blocks, kept: np.ndarray, catalogue: Sequence[Sensor]) -> np.ndarray:
    """Whether a reading is not flagged when one sensor keeps only this part of its departure, (n, n_sensors) bool."""
    moved = [_moved(blocks, sensor, kept[:, sensor], catalogue[sensor]) for sensor in range(len(catalogue))]
    verdicts = detector.judge(Blocks(blocks.sensors, np.concatenate(moved)))
    return ~verdicts.is_anomaly.reshape(len(catalogue), len(blocks)).T


def _moved(blocks: Blocks, sensor: int, kept: np.ndarray, described: Sensor) -> np.ndarray:
    """Rows in which one sensor keeps a part of its departure from typical, (n,) in 0…1."""
    rows = blocks.rows.astype(np.float32, copy=True)
    cells = rows[:, len(COMMON) :].reshape(len(rows), len(blocks.sensors), SENSOR_WIDTH)
    cell, ratio = cells[:, sensor], cells[:, :, _RATIO::2].copy()
    jumped = np.abs(ratio[:, sensor, INNOVATION]) >= _JUMP * np.abs(ratio[:, sensor][:, OWN]).max(axis=1)
    value = _between(cell, kept)
    low, high = described.plausible
    cell[:, _VALUE] = value
    cell[:, _QUALITY] = np.where((value >= low) & (value <= high), PRESENT, IMPLAUSIBLE)
    cell[:, _RUN], cell[:, _MISSING_RUN] = 1.0, 0.0
    part = np.where(jumped, kept, 1.0)[:, np.newaxis]
    for witness in OWN:
        ratio[:, sensor, witness] *= part[:, 0]
    ratio[:, :, CROSS_BAND : CROSS_LEVEL + 1] *= part[:, np.newaxis]
    cells[:, :, _RATIO::2] = ratio
    rows[:, len(COMMON) :] = cells.reshape(len(rows), -1)
    rows[:, _LASTING] = np.minimum(rows[:, _LASTING], np.abs(ratio).max(axis=(1, 2)))
    return rows


def _between(cell: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The value that keeps this part of the departure; typical where none was reported."""
    actual, typical = cell[:, _VALUE].astype(np.float64), cell[:, _TYPICAL].astype(np.float64)
    return np.where(np.isnan(actual), typical, typical + kept * (actual - typical))


def _smallest(
    blocks: Blocks, row: int, kept: np.ndarray, possible: np.ndarray, catalogue: Sequence[Sensor]
) -> Change | None:
    best: tuple[float, Change] | None = None
    cells = blocks.rows[row, len(COMMON) :].reshape(len(catalogue), SENSOR_WIDTH).astype(np.float64)
    for sensor in np.flatnonzero(possible).tolist():
        actual, typical = cells[sensor, _VALUE], cells[sensor, _TYPICAL]
        half = cells[sensor, PER_SENSOR.index("upper")] - typical
        if math.isnan(typical) or not half > 0.0:
            continue
        part = max(0.0, float(kept[sensor]) - _SPARE * (1.0 - float(kept[sensor])))
        normal = float(_between(cells[sensor : sensor + 1], np.array([part]))[0])
        name = catalogue[sensor].name
        if math.isnan(actual):
            distance, found = 0.0, Change(name, None, _decimal(typical), None)
        else:
            normal = _stepped(normal, actual, typical, catalogue[sensor].resolution)
            distance = abs(normal - actual) / half
            found = Change(name, _decimal(actual), _decimal(normal), _decimal(normal - actual))
        if best is None or distance < best[0]:
            best = distance, found
    return best[1] if best else None


def _decimal(value: float) -> float:
    """The shortest decimal of what blocks hold in 32 bits."""
    return float(str(np.float32(value)))


def _stepped(normal: float, actual: float, typical: float, resolution: float) -> float:
    """The next value towards typical that the sensor can report; a stuck one has to move by a step at least."""
    if resolution <= 0.0:
        return normal
    way = 1.0 if typical >= actual else -1.0
    steps = max(1.0, math.ceil(abs(normal - actual) / resolution - 1e-6))
    return actual + way * steps * resolution
