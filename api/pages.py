"""`/`: the plant at a glance, rendered here."""

from __future__ import annotations

import json
from typing import Any

from flask import Blueprint, Response, make_response, render_template

from api.context import Context
from api.health import is_stale
from api.problems import RETRY_AFTER_SECONDS
from api.silence import is_silent
from api.store_handle import STORE_AWAY
from api.times import ago, clock, rfc3339
from models.detection.sensors import Sensor
from models.detection.verdict import severity_class
from storage import anomalies, stations, stream
from storage.anomalies import AnomalyRow
from storage.session import Store
from storage.stations import StationRow

LISTED_ANOMALIES = 50
LISTED_STATIONS = 1000
UNITS_SHOWN = {"Cel": "°C", "1": ""}
_WORST_FIRST = {"silent": 0, "unknown": 1, "reporting": 2}


def page_routes(context: Context) -> Blueprint:
    """The page shows what is known, and says plainly when nothing is."""
    pages = Blueprint("pages", __name__, template_folder="templates", static_folder="static", static_url_path="/static")
    pages.add_app_template_filter(rfc3339)
    pages.add_app_template_filter(clock)

    @pages.get("/")
    def plant() -> Response:
        now_ms = context.now_ms()
        try:
            shown, status = plant_view(context, context.store.get(), now_ms), 200
        except STORE_AWAY as error:
            context.store.doubt(error)
            shown, status = {"state": _store_away()}, 503
        response = make_response(
            render_template("plant.html", now_ms=now_ms, sensors=columns(context), **shown), status
        )
        if status == 503:
            response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return response

    return pages


def columns(context: Context) -> list[dict[str, str]]:
    """Head of the stations table: sensors and their units."""
    return [
        {"name": sensor.name, "label": sensor.name.replace("_", " "), "unit": UNITS_SHOWN.get(sensor.unit, sensor.unit)}
        for sensor in context.settings.sensors
    ]


def plant_view(context: Context, store: Store, now_ms: int) -> dict[str, Any]:
    """What the template needs.

    Raises:
        StoreUnavailable: Cassandra is away.
    """
    settings = context.settings
    sign_ms = stream.progress(store, settings.readings_topic).heartbeat_ms
    stale = is_stale(sign_ms, now_ms, settings.api_stale_seconds)
    found = anomalies.latest(store, LISTED_ANOMALIES, now_ms)
    tiles = [_station(row, settings.sensors, stale, now_ms) for row in stations.stations(store)]
    tiles.sort(key=lambda tile: (_WORST_FIRST[tile["condition"]], tile["id"]))
    return {
        "state": _state(sign_ms, stale, now_ms),
        "stations": tiles[:LISTED_STATIONS],
        "station_count": len(tiles),
        "silent_count": sum(tile["condition"] == "silent" for tile in tiles),
        "anomalies": [_anomaly(row, now_ms) for row in found],
    }


def _state(sign_ms: int | None, stale: bool, now_ms: int) -> dict[str, Any]:
    if sign_ms is None:
        return {"kind": "blind", "text": "Not watching: the stream has not started yet."}
    if stale:
        text = f"Not watching since {clock(sign_ms)} UTC: the stream gives no sign. What follows is old."
        return {"kind": "blind", "text": text, "since_ms": sign_ms}
    return {"kind": "watching", "text": f"Watching; last sign of the stream {ago(sign_ms, now_ms)}."}


def _store_away() -> dict[str, Any]:
    return {"kind": "blind", "text": "Nothing to show: the store does not answer. This page tries again by itself."}


def _station(row: StationRow, sensors: tuple[Sensor, ...], stale: bool, now_ms: int) -> dict[str, Any]:
    silent = is_silent(row.last_record_ms, row.typical_interval_seconds, now_ms)
    return {
        "id": row.station_id,
        # While the stream is stale nobody is heard, so that nobody can be called silent.
        "condition": "unknown" if stale else "silent" if silent else "reporting",
        "seen_ms": row.last_record_ms,
        "seen_ago": ago(row.last_record_ms, now_ms),
        "values": [_number(row.sensors.get(sensor.name), sensor) for sensor in sensors],
    }


def _anomaly(row: AnomalyRow, now_ms: int) -> dict[str, Any]:
    return {
        "event_ms": row.event_ms,
        "ago": ago(row.event_ms, now_ms),
        "station_id": row.station_id,
        "sentence": json.loads(row.verdict).get("explanation", "") if row.verdict else "",
        "severity": round(row.severity),
        "severity_class": severity_class(row.severity),
        "score": f"{row.score:.2f}",
    }


def _number(value: float | None, sensor: Sensor) -> str:
    """A value with the digits its sensor resolves; a dash where there is none."""
    if value is None:
        return "–"
    digits = max(0, len(f"{sensor.resolution:.6f}".rstrip("0").partition(".")[2])) if sensor.resolution else None
    return f"{value:.4g}" if digits is None else f"{value:.{digits}f}"
