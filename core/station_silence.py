"""When a station counts as silent, and when nobody can know: the one definition, for pages, metrics and alarms."""

from __future__ import annotations

_LEAST_MS = 60_000
# `stations` is written at most every 10 s, and a station may skip a beat or two.
_INTERVALS = 5


def is_silent(last_seen_ms: int, typical_interval_seconds: float | None, now_ms: int) -> bool:
    """Whether a station has not been heard for five of its typical intervals, and for 60 s at least.

    Not for: a stale stream, which hears nobody; ask `is_stale` first.

    Args:
        last_seen_ms: record time of its last reading, ms since the epoch.
        typical_interval_seconds: of its readings, None while unknown.
        now_ms: ms since the epoch.
    """
    return now_ms - last_seen_ms > allowed_ms(typical_interval_seconds)


def allowed_ms(typical_interval_seconds: float | None) -> float:
    """How long a station may say nothing, ms."""
    return max(_LEAST_MS, _INTERVALS * 1000 * (typical_interval_seconds or 0.0))


def is_stale(sign_ms: int | None, now_ms: int, stale_seconds: float) -> bool:
    """Whether the stream has given no sign for longer than `stale_seconds`: then no station is heard."""
    return sign_ms is None or now_ms - sign_ms > 1000 * stale_seconds
