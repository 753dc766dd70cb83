"""The shapes of `/api/v1/alarms`."""

from __future__ import annotations

from typing import get_args

from api.representations.common import (
    COUNT,
    INTERVAL,
    NEXT_PAGE,
    NULLABLE_TEXT,
    RULE,
    SEVERITY_CLASS,
    STATION,
    TEXT,
    TIME,
    Schema,
    listed,
    nullable,
    record,
    ref,
)
from core.alarm import STATES, Action
from core.peer_comparison import ONE_STATION, UNKNOWN, WHOLE_HALL
from storage.tables.alarms import ANOMALY, SILENT

COMMENT_CHARACTERS = 2000
NAME_CHARACTERS = 64

SEVERITY: Schema = {"type": "number", "minimum": 0, "maximum": 100}
SCOPES = {ONE_STATION: "one_station", WHOLE_HALL: "whole_group", UNKNOWN: "unknown"}
ALARM_ACTION = record(
    {
        "action": {"enum": list(get_args(Action))},
        "time": TIME,
        "until": nullable(TIME),
        "by": {**NULLABLE_TEXT, "description": "who did it: the name given, or the role of the token"},
        "comment": TEXT,
    }
)
ALARM = record(
    {
        "id": {**TEXT, "description": "that of the first anomaly that arrived; of a silent station one of its own"},
        "kind": {"enum": [ANOMALY, SILENT]},
        "station_id": STATION,
        "group": {**NULLABLE_TEXT, "description": "stations that stand together, as configured"},
        "scope": {"enum": list(SCOPES.values()), "description": "whether the station is alone in its group"},
        "state": {"enum": list(STATES)},
        "begun_time": TIME,
        "last_time": {**TIME, "description": "of its last abnormal reading; of a silent station its last reading"},
        "notified_time": {**nullable(TIME), "description": "since when it is worth telling; null: not yet"},
        "closed_time": {**nullable(TIME), "description": "since when it is over by itself; null: it is on"},
        "shelved_until": nullable(TIME),
        "silenced": {"type": "boolean", "description": "somebody silenced it in Alertmanager"},
        "readings": {**COUNT, "description": "abnormal ones"},
        "counts": {**COUNT, "description": "1, and 1 more for every 60 readings it lasts"},
        "severity": {**SEVERITY, "description": "grows with its duration"},
        "severity_class": SEVERITY_CLASS,
        "worst_severity": {**SEVERITY, "description": "of its worst reading"},
        "worst_anomaly_id": NULLABLE_TEXT,
        "leading_sensor": NULLABLE_TEXT,
        "rules": listed(RULE),
        "explanation": TEXT,
        "action": nullable(record({"text": TEXT})),
        "actions": {**listed(ref("AlarmAction")), "description": "what people did, oldest first"},
    }
)
ALARMS = record({"alarms": listed(ref("Alarm"), maxItems=1000)}, {**INTERVAL, **NEXT_PAGE})
_SAID = {
    "comment": {**TEXT, "maxLength": COMMENT_CHARACTERS},
    "by": {**TEXT, "maxLength": NAME_CHARACTERS, "description": "your name, where the token does not say it"},
}
ACTION_GIVEN = record({}, _SAID)
SHELVING_GIVEN = record(
    {"until": {**TEXT, "format": "date-time", "description": "a moment within the next 24 hours"}}, _SAID
)

ALARM_COMPONENTS: dict[str, Schema] = {
    "Alarm": ALARM,
    "Alarms": ALARMS,
    "AlarmAction": ALARM_ACTION,
    "AlarmActionGiven": ACTION_GIVEN,
    "AlarmShelvingGiven": SHELVING_GIVEN,
}
