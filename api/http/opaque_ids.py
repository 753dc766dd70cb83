"""The ids of anomalies and alarms in addresses: base64url of their identity."""

from __future__ import annotations

import base64
import binascii
import re
from typing import NamedTuple

from werkzeug.routing import BaseConverter

from storage.tables.alarms import ANOMALY, SILENT, AlarmKey

_PLAIN = re.compile(rb"([A-Za-z0-9_-]{1,64})\.(-?[0-9]{1,19})\.(-?[0-9]{1,19})")
_SILENT = re.compile(rb"([A-Za-z0-9_-]{1,64})\.silent\.([0-9]{1,19})")
_INT64 = range(-(2**63), 2**63)
# Further away no calendar of Cassandra's or Python's reaches.
_MOMENTS = range(0, 253_402_300_800_000)


class Identity(NamedTuple):
    """What tells one reading from every other; event_ms in ms since the epoch."""

    station_id: str
    event_ms: int
    seq: int


class OpaqueConverter(BaseConverter):
    """An id in an address, which what is done to it may follow behind a colon: without a colon of its own."""

    regex = "[^/:]+"


def alarm_id(key: AlarmKey) -> str:
    """The id of the anomaly that an alarm began with; of a silent station `station.silent.begun_ms`."""
    if key.kind == ANOMALY:
        return anomaly_id(*key[:3])
    return _encoded(f"{key.station_id}.{key.kind}.{key.begun_ms}")


def alarm_key_of(text: str) -> AlarmKey | None:
    """The key an id stands for, or None for a text that is no id: each key has exactly one."""
    found = identity_of(text)
    if found is not None:
        return AlarmKey(*found)
    match = _SILENT.fullmatch(_decoded(text))
    if match is None:
        return None
    key = AlarmKey(match[1].decode(), int(match[2]), 0, SILENT)
    return key if key.begun_ms in _MOMENTS and alarm_id(key) == text else None


def anomaly_id(station_id: str, event_ms: int, seq: int) -> str:
    """`station.event_ms.seq` in base64url without padding."""
    return _encoded(f"{station_id}.{event_ms}.{seq}")


def identity_of(text: str) -> Identity | None:
    """The identity an id stands for, or None for a text that is no id: each identity has exactly one."""
    match = _PLAIN.fullmatch(_decoded(text))
    if match is None:
        return None
    found = Identity(match[1].decode(), int(match[2]), int(match[3]))
    return found if found.event_ms in _MOMENTS and found.seq in _INT64 and anomaly_id(*found) == text else None


def _encoded(plain: str) -> str:
    return base64.urlsafe_b64encode(plain.encode()).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    """What the text is the base64url of, empty for a text that is none."""
    try:
        return base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return b""
