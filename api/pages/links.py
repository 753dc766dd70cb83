"""Addresses of the pages."""

from __future__ import annotations

from api.http.opaque_ids import anomaly_id


def anomaly_url(station_id: str, event_ms: int, seq: int) -> str:
    """Where an anomaly is shown."""
    return f"/anomalies/{anomaly_id(station_id, event_ms, seq)}"


def station_url(station_id: str) -> str:
    """Where a station is shown; its id holds letters, digits, `_` and `-` only."""
    return f"/stations/{station_id}"
