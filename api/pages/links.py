"""Addresses of the pages."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error


def anomaly_id(station_id: str, event_ms: int, seq: int) -> str:
    """An anomaly's identity in letters that an address may hold."""
    return urlsafe_b64encode(f"{station_id}:{event_ms}:{seq}".encode()).decode().rstrip("=")


def identity_of(text: str) -> tuple[str, int, int] | None:
    """The identity behind an id, None when it is none."""
    try:
        station_id, event_ms, seq = urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().split(":")
        return station_id, int(event_ms), int(seq)
    except (Error, ValueError):
        return None


def anomaly_url(station_id: str, event_ms: int, seq: int) -> str:
    """Where an anomaly is shown."""
    return f"/anomalies/{anomaly_id(station_id, event_ms, seq)}"


def station_url(station_id: str) -> str:
    """Where a station is shown; its id holds letters, digits, `_` and `-` only."""
    return f"/stations/{station_id}"
