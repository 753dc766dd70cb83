"""Alarms, and what people did to them, as the API shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self, get_args

from msgspec import UNSET, Meta, UnsetType

from api.http.opaque_ids import alarm_id, anomaly_id
from api.http.times import rfc3339
from api.representations import fields
from api.representations.anomalies import COMMENT_CHARACTERS, Recommendation
from api.representations.common import Answer, PagedAnswer, rounded, time_or_none
from core.alarm import STATES, Action, State, state_of
from core.episodes import AGAIN
from core.peer_comparison import ONE_STATION, UNKNOWN, WHOLE_HALL
from core.verdict import severity_class
from models.scoring.rules import rules_of
from storage.tables.alarm_actions import ActionRow
from storage.tables.alarms import ANOMALY, SILENT, AlarmRow

NAME_CHARACTERS = 64
SCOPES = {ONE_STATION: "one_station", WHOLE_HALL: "whole_group", UNKNOWN: "unknown"}


class AlarmAction(Answer):
    """One thing that somebody did."""

    action: Annotated[str, fields.one_of(*get_args(Action))]
    time: fields.Time
    until: fields.Time | None
    by: Annotated[str | None, fields.about("who did it: the name given, or the role of the token")]
    comment: str


class Alarm(Answer):
    """An episode that people handle."""

    id: Annotated[str, fields.about("that of the first anomaly that arrived; of a silent station one of its own")]
    kind: Annotated[str, fields.one_of(ANOMALY, SILENT)]
    station_id: fields.StationId
    group: fields.StationGroup
    scope: Annotated[str, fields.one_of(*SCOPES.values()), fields.about("whether the station is alone in its group")]
    state: Annotated[str, fields.one_of(*STATES)]
    begun_time: fields.Time
    last_time: Annotated[
        fields.Time, fields.about("of its last abnormal reading; of a silent station its last reading")
    ]
    notified_time: Annotated[fields.Time | None, fields.about("since when it is worth telling; null: not yet")]
    closed_time: Annotated[fields.Time | None, fields.about("since when it is over by itself; null: it is on")]
    shelved_until: fields.Time | None
    silenced: Annotated[bool, fields.about("somebody silenced it in Alertmanager")]
    readings: Annotated[fields.Count, fields.about("abnormal ones")]
    counts: Annotated[fields.Count, fields.about("1, and 1 more for every 60 readings it lasts")]
    severity: Annotated[fields.Severity, fields.about("grows with its duration")]
    severity_class: fields.SeverityClass
    worst_severity: Annotated[fields.Severity, fields.about("of its worst reading")]
    worst_anomaly_id: str | None
    leading_sensor: str | None
    rules: list[fields.Rule]
    explanation: str
    action: Recommendation | None
    actions: Annotated[list[AlarmAction], fields.about("what people did, oldest first")]

    @classmethod
    def from_row(cls, row: AlarmRow, actions: Sequence[ActionRow], now_ms: int) -> Self:
        """What is stored."""
        state = state_now(row, actions, now_ms)
        of_readings = row.kind == ANOMALY
        return cls.of(
            row,
            id=alarm_id(row.key),
            group=row.group or None,
            scope=SCOPES[row.scope],
            state=state,
            shelved_until=time_or_none(actions[-1].done.until_ms) if state == "shelved" else None,
            silenced=bool(row.silenced_by),
            counts=1 + (row.last_ordinal - row.first_ordinal) // AGAIN,
            severity=rounded(row.severity),
            severity_class=severity_class(row.severity),
            worst_severity=rounded(row.worst_severity),
            worst_anomaly_id=anomaly_id(row.station_id, row.worst_ms, row.worst_seq) if of_readings else None,
            leading_sensor=row.sensor or None,
            rules=rules_of(row.flags),
            explanation=row.sentence,
            action=Recommendation(row.action) if row.action else None,
            actions=[AlarmAction.of(action.done, time=rfc3339(action.done.at_ms)) for action in actions],
        )


class Alarms(PagedAnswer):
    """A page of alarms; the interval is absent where what is open now was asked for."""

    alarms: Annotated[list[Alarm], Meta(max_length=1000)]
    start: fields.Time | UnsetType = UNSET
    end: fields.Time | UnsetType = UNSET


class AlarmActionGiven(Answer, kw_only=True):
    """What a person says beside what is done to an alarm."""

    comment: Annotated[str, Meta(max_length=COMMENT_CHARACTERS)] | UnsetType = UNSET
    by: (
        Annotated[str, Meta(max_length=NAME_CHARACTERS, description="your name, where the token does not say it")]
        | UnsetType
    ) = UNSET


class AlarmShelvingGiven(AlarmActionGiven):
    """The same, and how long an alarm is put aside."""

    until: Annotated[str, fields.about("a moment within the next 24 hours"), fields.schema(format="date-time")]


def state_now(row: AlarmRow, actions: Sequence[ActionRow], now_ms: int) -> State:
    """The state of an alarm."""
    return state_of([action.done for action in actions], row.last_record_ms, row.closed_ms, now_ms)
