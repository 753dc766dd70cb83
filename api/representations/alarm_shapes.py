"""Stored alarms, and what people did to them, as the API and the pages show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from api.http.opaque_ids import alarm_id, anomaly_id
from api.http.times import rfc3339
from api.representations.alarms import SCOPES
from api.representations.anomalies import rounded
from core.alarm import State, state_of
from core.episodes import AGAIN
from core.verdict import severity_class
from models.scoring.rules import rules_of
from storage.tables.alarm_actions import ActionRow
from storage.tables.alarms import ANOMALY, AlarmRow


def state_now(row: AlarmRow, actions: Sequence[ActionRow], now_ms: int) -> State:
    """The state of an alarm."""
    return state_of([action.done for action in actions], row.last_record_ms, row.closed_ms, now_ms)


def alarm_shown(row: AlarmRow, actions: Sequence[ActionRow], now_ms: int) -> dict[str, Any]:
    """One alarm as the API shows it."""
    state = state_now(row, actions, now_ms)
    of_readings = row.kind == ANOMALY
    return {
        "id": alarm_id(row.key),
        "kind": row.kind,
        "station_id": row.station_id,
        "group": row.group or None,
        "scope": SCOPES[row.scope],
        "state": state,
        "begun_time": rfc3339(row.begun_ms),
        "last_time": rfc3339(row.last_ms),
        "notified_time": _moment(row.notified_ms),
        "closed_time": _moment(row.closed_ms),
        "shelved_until": _moment(actions[-1].done.until_ms) if state == "shelved" else None,
        "silenced": bool(row.silenced_by),
        "readings": row.readings,
        "counts": 1 + (row.last_ordinal - row.first_ordinal) // AGAIN,
        "severity": rounded(row.severity),
        "severity_class": severity_class(row.severity),
        "worst_severity": rounded(row.worst_severity),
        "worst_anomaly_id": anomaly_id(row.station_id, row.worst_ms, row.worst_seq) if of_readings else None,
        "leading_sensor": row.sensor or None,
        "rules": rules_of(row.flags),
        "explanation": row.sentence,
        "action": {"text": row.action} if row.action else None,
        "actions": [action_shown(action) for action in actions],
    }


def action_shown(row: ActionRow) -> dict[str, Any]:
    """One thing that somebody did."""
    done = row.done
    return {
        "action": done.action,
        "time": rfc3339(done.at_ms),
        "until": _moment(done.until_ms),
        "by": done.by,
        "comment": done.comment,
    }


def _moment(time_ms: int | None) -> str | None:
    return None if time_ms is None else rfc3339(time_ms)
