"""How many false alarms the budget setting means at a cadence. Plain Python, compiled where the kernel needs it."""

from __future__ import annotations

import math


def episodes_per_day(budget: float, cadence: float) -> float:
    """Return how many false alarm episodes a station may have a day.

    Fast stations get more, as more happens to them, but by the root only. `budget` 1 means 0.75 a day at one reading a
    minute, 5.8 at one a second, 0.15 at one in five minutes.

    Args:
        budget: the setting, dimensionless.
        cadence: s.

    Source: measured in a prototype on simulated stations and the NAB series.
    """
    ratio = 60.0 / cadence
    return budget * 0.75 * (ratio if cadence >= 60.0 else math.sqrt(ratio))
