"""Alarms as the pages show them: what is on, since when, whose it is, and what can be done."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from api.http.opaque_ids import alarm_id
from api.http.times import clock
from api.pages.conditions import CONDITIONS, trouble
from api.pages.links import anomaly_url, station_url
from api.pages.words import length
from api.representations.alarms import state_now
from core.alarm import LEGAL, OPEN_STATES, STATES
from core.peer_comparison import ONE_STATION, WHOLE_HALL
from core.times import DAY_MS
from storage.driver.session import Store
from storage.tables.alarm_actions import ActionRow, actions_of
from storage.tables.alarms import SILENT, AlarmRow, alarms_of_keys, alarms_page, open_keys

LISTED = 200
STATION_DAYS = 7
STATION_LISTED = 30
SCOPES_SAID = {WHOLE_HALL: "the whole group is concerned", ONE_STATION: "this station alone"}

BLANK_ALARM: dict[str, Any] = {
    "id": "", "condition": "warning", "state": "active", "first_ms": 0, "legal": (), "silenced": False, "url": "",
}  # fmt: skip


def open_alarms(store: Store, now_ms: int) -> dict[str, Any]:
    """What is on in the plant: those nobody looks after first, then by severity.

    Returns:
        `alarms` at most `LISTED` of them, `more` how many further ones there are, `open` and `unhandled` how many.
    """
    rows = alarms_of_keys(store, open_keys(store))
    shown = [one for one in _shown(store, rows, now_ms) if one["state"] in OPEN_STATES]
    shown.sort(key=lambda one: (STATES.index(one["state"]), -one["severity"], -one["first_ms"], one["id"]))
    return {
        "alarms": shown[:LISTED],
        "more": max(0, len(shown) - LISTED),
        "open": len(shown),
        "unhandled": sum(one["state"] == "active" for one in shown),
    }


def alarms_of(store: Store, station_id: str, now_ms: int) -> list[dict[str, Any]]:
    """A station's alarms: those that are on, and those that began in the last days; newest first."""
    held = alarms_of_keys(store, [key for key in open_keys(store) if key.station_id == station_id])
    lately, _ = alarms_page(store, now_ms - STATION_DAYS * DAY_MS, now_ms + DAY_MS, STATION_LISTED, station_id)
    rows = {row.key: row for row in [*held, *lately]}
    found = sorted(_shown(store, rows.values(), now_ms), key=lambda one: (one["state"] == "cleared", -one["first_ms"]))
    return found[:STATION_LISTED]


def headline(counts: dict[str, Any]) -> str:
    """How many alarms are open, in a few words."""
    if not counts["open"]:
        return "No open alarm"
    unhandled = f", {counts['unhandled']} not looked after" if counts["unhandled"] else ""
    return f"{counts['open']} open {'alarm' if counts['open'] == 1 else 'alarms'}{unhandled}"


def _shown(store: Store, rows: Iterable[AlarmRow], now_ms: int) -> list[dict[str, Any]]:
    told = [row for row in rows if row.notified_ms is not None]
    actions = actions_of(store, (row.key for row in told))
    return [alarm_told(row, actions.get(row.key, []), now_ms) for row in told]


def alarm_told(row: AlarmRow, actions: list[ActionRow], now_ms: int) -> dict[str, Any]:
    """One alarm in the words of the page."""
    state = state_now(row, actions, now_ms)
    silent = row.kind == SILENT
    condition = "silent" if silent else trouble(row.severity)
    assert condition in CONDITIONS  # noqa: S101 - each has a colour and a shape.
    return {
        "id": alarm_id(row.key),
        "url": station_url(row.station_id) if silent else anomaly_url(row.station_id, row.worst_ms, row.worst_seq),
        "station_id": row.station_id,
        "station_url": station_url(row.station_id),
        "condition": condition,
        "severity": round(row.severity),
        "first_ms": row.begun_ms,
        "state": state,
        "state_text": _state_said(state, actions),
        "sentence": row.sentence or "Readings beyond their limit.",
        "lasted": _lasted(row, silent, now_ms),
        "where": " · ".join(text for text in (row.group, SCOPES_SAID.get(row.scope, "")) if text),
        "comment": next((one.done.comment for one in reversed(actions) if one.done.comment), ""),
        "silenced": bool(row.silenced_by),
        "legal": LEGAL[state],
    }


def _state_said(state: str, actions: list[ActionRow]) -> str:
    last = actions[-1].done if actions else None
    who = f" by {last.by}" if last is not None and last.by else ""
    if last is not None and state == "acknowledged":
        return f"acknowledged{who}"
    if last is not None and state == "shelved" and last.until_ms is not None:
        return f"shelved until {clock(last.until_ms)[:16]} UTC{who}"
    if state == "cleared":
        return f"cleared{who}" if last is not None and last.action == "clear" else "over"
    return "active"


def _lasted(row: AlarmRow, silent: bool, now_ms: int) -> str:
    if silent:
        until = now_ms if row.closed_ms is None else row.closed_ms
        return f"{'no word for' if row.closed_ms is None else 'was silent for'} {length(until - row.begun_ms)}"
    readings = f"{row.readings:,} abnormal {'reading' if row.readings == 1 else 'readings'}"
    lasted = length(row.last_record_ms - row.first_record_ms)
    return f"{'on for' if row.closed_ms is None else 'lasted'} {lasted}, {readings}"
