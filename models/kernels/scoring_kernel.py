"""The compiled passes over blocks: the forest's features, and what the witnesses say.

Ratios are divided as float64. `detector.py` puts a verdict together; the rules are in `models.scoring.rules`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from models.kernels.columns import (
    COMMON,
    LEVEL,
    MISSING,
    N_COMMON,
    N_PER_SENSOR,
    N_WITNESSES,
    PER_SENSOR,
    SENSOR_WIDTH,
)
from models.kernels.jit import compiled

_LATE, _LASTING = COMMON.index("late"), COMMON.index("lasting")
_VALUE, _QUALITY, _WEIGHT = (PER_SENSOR.index(name) for name in ("value", "quality", "weight"))
WARM_WEIGHT = 0.5  # below it a station counts as warming up


class Bits(NamedTuple):
    """Values of `verdict.Flag`."""

    incomplete: int
    late: int
    warming_up: int


@compiled()
def _larger(one: float, other: float) -> float:
    """The larger number, or NaN where one of them is NaN."""
    return one if one > other or math.isnan(one) else other


@compiled()
def largest_ratios(rows: np.ndarray, centre: np.ndarray, reach: np.ndarray, far: float, out: np.ndarray) -> None:
    """Write the forest's features of each block.

    Args:
        rows: (n, block_width) float32, see `Blocks.whole`.
        centre: (n_sensors,) float64 of a version's reference, NaN for a sensor it does not know.
        reach: likewise.
        far: beyond it a feature says no more.
        out: (n, N_WITNESSES + 1) float64, zeros; filled.
    """
    for n in range(len(rows)):
        row, largest = rows[n], out[n]
        for sensor in range(len(centre)):
            cell = row[N_COMMON + sensor * SENSOR_WIDTH : N_COMMON + (sensor + 1) * SENSOR_WIDTH]
            for witness in range(N_WITNESSES):
                ratio, h = np.float64(cell[N_PER_SENSOR + 2 * witness]), cell[N_PER_SENSOR + 2 * witness + 1]
                if witness == LEVEL:
                    weight = np.float64(cell[_WEIGHT])
                    pooled = (np.float64(cell[_VALUE]) - centre[sensor]) / reach[sensor]
                    ratio = weight * ratio + (1.0 - weight) * (0.0 if math.isnan(pooled) else pooled)
                largest[witness] = _larger(abs(ratio) / h, largest[witness])
        largest[N_WITNESSES] = row[_LASTING]
        for column in range(N_WITNESSES + 1):
            if largest[column] > far:
                largest[column] = far


@compiled()
def read_witnesses(
    rows: np.ndarray, factors: np.ndarray, bits: Bits, ratio: np.ndarray, flags: np.ndarray, fired: np.ndarray
) -> None:
    """Write what the witnesses say of each block.

    Args:
        rows: (n, block_width) float32, see `Blocks.whole`.
        factors: (n_sensors, N_WITNESSES) float64, k of each witness.
        bits: of `flags`.
        ratio: (n,) float64; filled with the largest |ratio| / k.
        flags: (n,) int32; those of `bits` are added.
        fired: (n,) bool, False; filled with whether a witness is beyond its h.
    """
    for n in range(len(rows)):
        row, most, weight = rows[n], 0.0, np.float32(0.0)
        for sensor in range(len(factors)):
            cell = row[N_COMMON + sensor * SENSOR_WIDTH : N_COMMON + (sensor + 1) * SENSOR_WIDTH]
            for witness in range(N_WITNESSES):
                size = abs(np.float64(cell[N_PER_SENSOR + 2 * witness])) / factors[sensor, witness]
                most = _larger(size, most)
                if size > cell[N_PER_SENSOR + 2 * witness + 1]:
                    fired[n] = True
            weight = max(weight, cell[_WEIGHT])
            if cell[_QUALITY] == MISSING:
                flags[n] |= bits.incomplete
        ratio[n] = most
        if row[_LATE] > 0:
            flags[n] |= bits.late
        if weight < WARM_WEIGHT:
            flags[n] |= bits.warming_up
