"""When a station counts as silent."""

from __future__ import annotations

_LEAST_MS = 60_000
# `stations` is written at most every 10 s, and a station may skip a beat or two.
_INTERVALS = 5


def is_silent(last_seen_ms: int, typical_interval_seconds: float | None, now_ms: int) -> bool:
    """Whether a station has not been heard for five of its typical intervals, and for 60 s at least.

    Not for: a stale stream, which hears nobody; ask `health.is_stale` first.

    Args:
        last_seen_ms: record time of its last reading, ms since the epoch.
        typical_interval_seconds: of its readings, None while unknown.
        now_ms: ms since the epoch.
    """
    allowed = _INTERVALS * 1000 * (typical_interval_seconds or 0.0)
    return now_ms - last_seen_ms > max(_LEAST_MS, allowed)
