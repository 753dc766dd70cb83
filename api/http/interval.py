"""The interval a request is about: `time_range`, or `start` and `end`."""

from __future__ import annotations

from typing import Any, NamedTuple

from api.http.problems import refuse_parameter
from api.http.query import LONGEST_MS, Duration, Moment, StrictQuery, parse_duration
from api.http.times import rfc3339

AHEAD_MS = 5 * 60_000 + 1
"""An accepted reading lies at most 5 minutes ahead of its record time. A range that ends now reaches this far ahead, so
that what is stored is listed and counted: the interval is [now - range, now + 5 min]."""


class Interval(NamedTuple):
    """Half-open, ms since the epoch."""

    start_ms: int
    end_ms: int

    def times(self) -> tuple[str, str]:
        """Start and end as the answers echo them."""
        return rfc3339(self.start_ms), rfc3339(self.end_ms)


class IntervalQuery(StrictQuery):
    """`time_range`, or `start` and perhaps `end`; not both."""

    time_range = Duration(required=False)
    start = Moment(metadata={"description": "first moment, RFC 3339; instead of time_range"})
    end = Moment(metadata={"description": "moment after the last one, RFC 3339; now when left out"})


def resolve(query: dict[str, Any], now_ms: int, default: str) -> Interval:
    """The interval of a request.

    Args:
        query: the loaded parameters of an `IntervalQuery`.
        now_ms: ms since the epoch.
        default: the time_range where the request names none.

    Raises:
        HTTPError: 422; both forms, an end without a start, an empty interval, or one of over 90 days.
    """
    start_ms, end_ms = query.get("start"), query.get("end")
    if start_ms is None:
        if end_ms is not None and "time_range" not in query:
            raise refuse_parameter("start", "missing", "end is given without start; give both, or time_range")
        if end_ms is not None:
            raise _both("end")
        return Interval(max(0, now_ms - parse_duration(query.get("time_range", default))), now_ms + AHEAD_MS)
    if "time_range" in query:
        raise _both("start")
    end_ms = now_ms + AHEAD_MS if end_ms is None else end_ms
    if not start_ms < end_ms:
        said = f"start {rfc3339(start_ms)} is not before end {rfc3339(end_ms)}"
        raise refuse_parameter("start", "empty_interval", said)
    if end_ms - start_ms > LONGEST_MS + AHEAD_MS:
        raise refuse_parameter("start", "out_of_range", f"start {rfc3339(start_ms)} lies over 90 days before end")
    return Interval(start_ms, end_ms)


def _both(name: str) -> Exception:
    return refuse_parameter(
        name, "conflict", f"time_range and {name} are both given; give time_range, or start and end"
    )
