"""Times as the API and the page show them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rfc3339(time_ms: int) -> str:
    """`2026-11-21T10:15:04.250Z` of milliseconds since the epoch."""
    return _utc(time_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock(time_ms: int) -> str:
    """`2026-11-21 10:15:04`, in UTC."""
    return f"{_utc(time_ms):%Y-%m-%d %H:%M:%S}"


def ago(time_ms: int, now_ms: int) -> str:
    """A distance in words, in the largest unit that is at least 2: `4 s ago`, `3 min ago`."""
    seconds = (now_ms - time_ms) / 1000
    if seconds < 0:
        return f"{-seconds:.0f} s ahead" if seconds < -1 else "now"
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def _utc(time_ms: int) -> datetime:
    # Added as an integer: a division would round through a float.
    return _EPOCH + timedelta(milliseconds=time_ms)
