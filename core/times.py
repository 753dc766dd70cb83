"""Times as the tables want them: milliseconds since the epoch, cut into the buckets of the partition keys."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
# The wire form of a CQL date: days since the epoch, with the epoch at 2**31.
_CQL_DATE_EPOCH = 1 << 31


def floored(time_ms: int, step_ms: int) -> int:
    """The start of the step that `time_ms` lies in."""
    return time_ms - time_ms % step_ms


def cql_date(time_ms: int) -> int:
    """The UTC day of `time_ms` as the driver binds a CQL date."""
    return time_ms // DAY_MS + _CQL_DATE_EPOCH


def cql_dates(times_ms: np.ndarray) -> np.ndarray:
    """The UTC days of ms since the epoch as CQL dates are sent, (n,) int64."""
    return times_ms // DAY_MS + _CQL_DATE_EPOCH


def year_of(time_ms: int) -> int:
    """The UTC year of `time_ms`."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).year


def steps(start_ms: int, end_ms: int, step_ms: int, newest_first: bool = False) -> Iterator[int]:
    """Yield the starts of the steps that touch [start_ms, end_ms)."""
    if end_ms <= start_ms:
        return iter(())
    touched = range(floored(start_ms, step_ms), end_ms, step_ms)
    return iter(reversed(touched) if newest_first else touched)
