"""The plant at a glance: a tile per station, the latest episodes, and whether anybody is watching."""

from __future__ import annotations

from typing import Any

from api.http.times import clock
from api.pages.conditions import CONDITIONS, RANK, condition_of, trouble
from api.pages.folding import Episode
from api.pages.links import anomaly_url, station_url
from api.pages.watch import BACK_MS, Look
from api.pages.words import label, length, number, unit_shown
from api.services.context import Context
from core.sensors import Sensor
from core.station_silence import is_stale
from core.times import HOUR_MS
from storage.tables.stations import StationRow

LISTED_EPISODES = 30
NOT_BEGUN = "Not watching: the stream has not started yet."


def state_of(sign_ms: int | None, now_ms: int, stale_seconds: float) -> dict[str, Any]:
    """Whether anybody is watching: `kind` is `watching` or `blind`, `text` a sentence; ms since the epoch."""
    if sign_ms is None:
        return {"kind": "blind", "text": NOT_BEGUN, "since_ms": None}
    if is_stale(sign_ms, now_ms, stale_seconds):
        lasted = length(now_ms - sign_ms)
        text = f"Not watching since {clock(sign_ms)} UTC ({lasted}): the stream gives no sign. What follows is old."
        return {"kind": "blind", "text": text, "since_ms": sign_ms}
    return {"kind": "watching", "text": "Watching", "since_ms": None}


def store_away() -> dict[str, Any]:
    """The state while Cassandra is away."""
    text = "Nothing to show: the store does not answer. This page tries again by itself."
    return {"kind": "blind", "text": text, "since_ms": None}


def plant_view(look: Look, context: Context) -> dict[str, Any]:
    """What page and script show of a look: plain values only, ready for JSON."""
    sensors = context.settings.sensors
    state = state_of(look.sign_ms, look.at_ms, context.settings.api_stale_seconds)
    stale = state["kind"] == "blind"
    lately = look.episodes.since(look.at_ms - HOUR_MS)
    tiles = [_tile(row, look, sensors, stale, lately) for row in look.stations]
    tiles.sort(key=lambda tile: (RANK[tile["condition"]], -tile["severity"], tile["id"]))
    counts = dict.fromkeys(CONDITIONS, 0)
    for tile in tiles:
        counts[tile["condition"]] += 1
    opened = {tile["id"] for tile in tiles if tile["open"]}
    return {
        "at_ms": look.at_ms,
        "state": state,
        "title": _title(state, counts, len(opened)),
        "catching_up": look.catching_up,
        "quiet": f"No episode in the last {BACK_MS // HOUR_MS} hours." if look.sign_ms else "No anomaly is stored yet.",
        "counts": counts,
        "open": _open_said(len(opened), stale),
        "tiles": tiles,
        "episodes": [
            episode_shown(episode, look.episodes.latest[episode.station_id] is episode and episode.station_id in opened)
            for episode in look.episodes.newest(LISTED_EPISODES)
        ],
    }


def _tile(
    row: StationRow, look: Look, sensors: tuple[Sensor, ...], stale: bool, lately: dict[str, int]
) -> dict[str, Any]:
    episode = look.episodes.open_of(row.station_id, row.readings)
    condition = condition_of(row, episode.severity if episode else None, stale, look.at_ms)
    shown = episode if condition not in ("silent", "unknown") else None
    return {
        "id": row.station_id,
        "url": station_url(row.station_id),
        "condition": condition,
        "severity": round(shown.severity) if shown else 0,
        "open": shown is not None,
        "line": _line(shown, condition, row),
        "since_ms": shown.first_ms if shown else row.last_record_ms if condition == "silent" else None,
        "seen_ms": row.last_record_ms,
        "lately_text": "" if shown else _lately(lately.get(row.station_id, 0)),
        "hot": shown.sensor if shown else "",
        "values": [f"{number(row.sensors.get(sensor.name), sensor)} {unit_shown(sensor.unit)}" for sensor in sensors],
    }


def blank_tile(sensors: tuple[Sensor, ...]) -> dict[str, Any]:
    """A tile for the script to fill."""
    return {"id": "", "url": "", "condition": "normal", "values": [""] * len(sensors)}


def _open_said(count: int, stale: bool) -> str:
    """How many episodes are open; nobody knows while nobody watches."""
    if stale:
        return "open episodes unknown"
    return f"{count} open {'episode' if count == 1 else 'episodes'}"


def _title(state: dict[str, Any], counts: dict[str, int], opened: int) -> str:
    """What the browser's tab says: the worst first, since tabs are narrow."""
    if state["kind"] == "blind":
        return "● not watching · stationwatch"
    worst = next((f"{counts[name]} {name}" for name in ("critical", "silent", "major") if counts[name]), "")
    return f"({opened}) {worst or 'open'} · stationwatch" if opened or worst else "stationwatch"


def _line(shown: Episode | None, condition: str, row: StationRow) -> str:
    """What is wrong, in the few words that fit a tile."""
    if shown is not None:
        return label(shown.sensor)
    if condition == "warming-up":
        return f"{row.readings} readings so far"
    return ""


BLANK_EPISODE = {"key": "", "url": "", "condition": "warning", "severity": "", "first_ms": 0, "lasted": ""}


def _lasted(episode: Episode, is_open: bool) -> str:
    readings = f"{episode.readings:,} {'reading' if episode.readings == 1 else 'readings'}"
    lasted = length(episode.last_ms - episode.first_ms)
    if is_open:
        return f"open, {readings} in {lasted}"
    return readings if episode.readings == 1 else f"lasted {lasted}, {readings}"


def _lately(count: int) -> str:
    return f"{count} {'episode' if count == 1 else 'episodes'} in the last hour" if count else ""


def episode_shown(episode: Episode, is_open: bool) -> dict[str, Any]:
    """An episode as lists show it; its link leads to its worst reading."""
    return {
        "key": anomaly_url(*episode.identity),
        "url": anomaly_url(episode.station_id, episode.worst_ms, episode.worst_seq),
        "station_id": episode.station_id,
        "station_url": station_url(episode.station_id),
        "condition": trouble(episode.severity),
        "severity": round(episode.severity),
        "open": is_open,
        "first_ms": episode.first_ms,
        "last_ms": episode.last_ms,
        "lasted": _lasted(episode, is_open),
        "sentence": episode.sentence,
    }
