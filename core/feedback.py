"""What people say of an anomaly, and the precision that follows from it."""

from __future__ import annotations

import math
from dataclasses import dataclass

TRUE_POSITIVE, FALSE_POSITIVE, EXPECTED = "true_positive", "false_positive", "expected"
VERDICTS = (TRUE_POSITIVE, FALSE_POSITIVE, EXPECTED)


@dataclass(frozen=True)
class Precision:
    """How many of the anomalies that people spoke about were real.

    Args:
        true, false: numbers.
        precision: share of true ones, NaN without any.
        low, high: 95 % Wilson interval; 0 and 1 without any.
    """

    true: int
    false: int
    precision: float
    low: float
    high: float


def precision_of(true: int, false: int) -> Precision:
    """Return the precision with its interval. Source: Wilson 1927; holds for few labels too."""
    n, z = true + false, 1.959964
    if n == 0:
        return Precision(0, 0, math.nan, 0.0, 1.0)
    share = true / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Precision(true, false, share, max(0.0, middle - half), min(1.0, middle + half))
