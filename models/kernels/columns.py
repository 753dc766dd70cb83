"""Columns of the block and of the witnesses, by name. Nothing here is compiled, so that everything may read it."""

from __future__ import annotations

WITNESSES = (
    "innovation", "band_12", "band_48", "level", "level_12", "level_48", "level_192", "noise", "cross_band",
    "cross_level",
)  # fmt: skip
INNOVATION, BAND_12, BAND_48, LEVEL, LEVEL_12, LEVEL_48, LEVEL_192, NOISE, CROSS_BAND, CROSS_LEVEL = range(10)
N_WITNESSES = 10

# A block is a row: COMMON, then for each sensor PER_SENSOR, then for each of its witnesses PER_WITNESS.
COMMON = ("ordinal", "late", "elapsed", "gap_limit", "lasting")
PER_SENSOR = (
    "value", "quality", "weight", "typical", "spread", "lower", "upper", "run", "run_limit", "missing_run",
    "missing_limit",
)  # fmt: skip
PER_WITNESS = ("ratio", "h")
N_COMMON = len(COMMON)
N_PER_SENSOR = len(PER_SENSOR)
SENSOR_WIDTH = N_PER_SENSOR + N_WITNESSES * len(PER_WITNESS)

# Values of the column `quality`.
PRESENT, MISSING, IMPLAUSIBLE = 0.0, 1.0, 2.0
