"""The id of an anomaly in addresses: base64url of its identity."""

from __future__ import annotations

import base64
import binascii
import re
from typing import NamedTuple

_PLAIN = re.compile(rb"([A-Za-z0-9_-]{1,64})\.(-?[0-9]{1,19})\.(-?[0-9]{1,19})")
_INT64 = range(-(2**63), 2**63)
# Further away no calendar of Cassandra's or Python's reaches.
_MOMENTS = range(0, 253_402_300_800_000)


class Identity(NamedTuple):
    """What tells one reading from every other; event_ms in ms since the epoch."""

    station_id: str
    event_ms: int
    seq: int


def anomaly_id(station_id: str, event_ms: int, seq: int) -> str:
    """`station.event_ms.seq` in base64url without padding."""
    return base64.urlsafe_b64encode(f"{station_id}.{event_ms}.{seq}".encode()).rstrip(b"=").decode()


def identity_of(text: str) -> Identity | None:
    """The identity an id stands for, or None for a text that is no id: each identity has exactly one."""
    try:
        plain = base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None
    match = _PLAIN.fullmatch(plain)
    if match is None:
        return None
    found = Identity(match[1].decode(), int(match[2]), int(match[3]))
    return found if found.event_ms in _MOMENTS and found.seq in _INT64 and anomaly_id(*found) == text else None
