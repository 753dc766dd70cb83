"""Durations and times as people and files write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from core.errors import SettingsError

_DURATION = re.compile(r"\+?(\d+(?:\.\d+)?)(ms|s|m|h|d|)")
_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_duration(text: str) -> float:
    """Return seconds of `10`, `10s`, `1.5h`, `+20s`, `500ms`, `2d`.

    Raises:
        SettingsError: anything else.
    """
    match = _DURATION.fullmatch(text.strip())
    if not match:
        raise SettingsError(f"duration {text!r}: expected a number with ms, s, m, h or d, such as 10s or 1.5h")
    return float(match[1]) * _SECONDS[match[2]]


def parse_time(text: str) -> datetime:
    """Return the aware UTC time of an RFC 3339 text; a time without offset is taken as UTC.

    Raises:
        SettingsError: no such time.
    """
    try:
        time = datetime.fromisoformat(text.strip())
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise SettingsError(f"time {text!r}: expected RFC 3339, such as 2026-11-21T10:15:04.250Z") from error


def milliseconds(time: datetime) -> int:
    """Return whole milliseconds since the epoch; microseconds are cut off."""
    return (time - EPOCH) // timedelta(milliseconds=1)


def from_milliseconds(ms: int) -> datetime:
    """Return the aware UTC time of whole milliseconds since the epoch."""
    return EPOCH + timedelta(milliseconds=ms)


def tick_milliseconds(tick: int, cadence: float) -> int:
    """Return the event time of a tick: tick times cadence, in milliseconds since the epoch."""
    return round(tick * cadence * 1000)


def rfc3339(ms: NDArray[np.int64]) -> NDArray[np.str_]:
    """Return texts such as `2026-11-21T10:15:04.250Z`."""
    return np.char.add(np.datetime_as_string(ms.astype("datetime64[ms]"), unit="ms"), "Z")
