"""How many false alarms the budget setting means at a cadence. Plain Python, compiled where the kernel needs it."""

from __future__ import annotations

# Slow excursions fill many readings of a fast station; with the square root twice as many alarms came as aimed at.
_FAST = 0.4


def episodes_per_day(budget: float, cadence: float) -> float:
    """Return how many false alarm episodes a station may have a day.

    Fast stations get more, as more happens to them, but far less than in proportion. `budget` 1 means one a day at one
    reading a minute, 5.1 at one a second, one in five days at one in five minutes.

    Args:
        budget: the setting, dimensionless.
        cadence: s.

    Source: measured on simulated stations; docs/detection.md, calibration.
    """
    ratio = 60.0 / cadence
    return budget * (ratio if cadence >= 60.0 else ratio**_FAST)
