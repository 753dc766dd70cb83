"""Anomalies, and verdicts on readings, as the API shows them. Numbers leave finite or as null."""

from __future__ import annotations

from typing import Annotated, Any, Self

import msgspec
from msgspec import UNSET, Meta, UnsetType

from api.http.opaque_ids import anomaly_id
from api.http.times import rfc3339
from api.representations import fields
from api.representations.common import Answer, Model, PagedAnswer, nullable, ref, rounded
from core.feedback import VERDICTS
from core.verdict import Flag, severity_class
from models.scoring.rules import rules_of
from storage.tables.anomalies import AnomalyRow
from storage.tables.feedback import FeedbackRow

COMMENT_CHARACTERS = 2000

FeedbackVerdict = Annotated[str, fields.one_of(*VERDICTS)]
StoredText = Annotated[Any, fields.schema(**fields.TEXT)]
StoredNumber = Annotated[Any, fields.schema(type=["number", "null"])]


class SensorShare(Answer):
    """A sensor's part in a verdict; what an older release did not write is None."""

    name: StoredText = None
    unit: Annotated[StoredText, fields.about("UCUM code")] = None
    actual: StoredNumber = None
    typical: StoredNumber = None
    lower: StoredNumber = None
    upper: StoredNumber = None
    direction: Annotated[Any, fields.one_of("above", "below", "equal", "missing", None)] = None
    contribution: Annotated[StoredNumber, fields.about("share of this sensor in the verdict, 0 to 1")] = None


class Witness(Answer):
    """A witness' part in a verdict."""

    name: StoredText = None
    score: StoredNumber = None
    threshold: StoredNumber = None
    fired: Annotated[Any, fields.schema(type="boolean")] = None


class Cause(Answer):
    """What the findings point at."""

    hint: Annotated[str, fields.about("sensor_fault, process, environment or unknown")]
    evidence: str


class Recommendation(Answer):
    """What to do."""

    text: str


StoredCause = Annotated[Any, fields.schema(**nullable(ref(Cause)))]
StoredRecommendation = Annotated[Any, fields.schema(**nullable(ref(Recommendation)))]


class Judged(Answer, kw_only=True):
    """What is said of a reading, whether it was stored or only asked about."""

    is_anomaly: bool = False
    score: Annotated[float, fields.about("1 is at its own limit; logarithmic above")] = 0.0
    threshold: Annotated[float, fields.schema(const=1.0)] = 1.0
    severity: fields.Severity = 0.0
    severity_class: fields.SeverityClass = "low"
    state: Annotated[str, fields.one_of("stable", "warming_up")] = "stable"
    sensors: list[SensorShare] = []
    witnesses: list[Witness] = []
    rules: list[fields.Rule] = []
    explanation: str = ""
    cause: StoredCause = None
    action: StoredRecommendation = None
    p_value: Annotated[StoredNumber, fields.about("share of the training readings that scored as high")] = None

    @classmethod
    def from_verdict(cls, score: float, severity: float, flags: int, document: str | bytes) -> Judged:
        """A verdict with its stored explanation, whatever release wrote that; decoding it so costs a fifth."""
        try:
            judged = _decode(document)
        except msgspec.MsgspecError:
            judged = Judged()
        judged.is_anomaly = bool(flags & Flag.ANOMALY)
        judged.score, judged.threshold = score, 1.0
        judged.severity = rounded(severity)
        judged.severity_class = severity_class(severity)
        judged.state = "warming_up" if flags & Flag.WARMING_UP else "stable"
        judged.rules = rules_of(flags)
        judged.cause = _texts(Cause, judged.cause)
        judged.action = _texts(Recommendation, judged.action)
        return judged


_decode = msgspec.json.Decoder(Judged).decode


def _texts(kind: type[Answer], part: object) -> Answer | None:
    """The texts of a part of an explanation; None when an older release did not write it."""
    return kind(*(str(part.get(name, "")) for name in kind.__struct_fields__)) if isinstance(part, dict) else None


class Feedback(Answer):
    """What a person said of an anomaly."""

    verdict: FeedbackVerdict
    comment: str
    time: fields.Time
    given_by: Annotated[str | None, fields.about("role of who said it")]

    @classmethod
    def from_row(cls, row: FeedbackRow) -> Self:
        """What is stored."""
        return cls.of(row, time=rfc3339(row.given_ms))


class FeedbackGiven(Answer):
    """What a person says of an anomaly."""

    verdict: FeedbackVerdict
    comment: Annotated[str, Meta(max_length=COMMENT_CHARACTERS)] | UnsetType = UNSET


class ShapValue(Answer):
    """A sensor's exact share."""

    name: str
    value: Annotated[float, fields.about("multiples of the limit")]


class SmallestChange(Answer):
    """What would have been normal."""

    sensor: str
    actual: float | None
    normal: float
    change: float | None


class _AnomalyEnd(Judged, kw_only=True):
    leading_sensor: Annotated[str | None, fields.about("the sensor that contributes most")]
    late: Annotated[bool, fields.about("arrived behind later readings of its station")]
    model: Model
    feedback: Feedback | None
    shap: list[ShapValue] | UnsetType = UNSET
    smallest_change: SmallestChange | None | UnsetType = UNSET


class Anomaly(_AnomalyEnd):
    """A stored anomaly: its identity, the verdict, and what became of it."""

    id: Annotated[str, fields.about("base64url of station, event time and seq")]
    station_id: fields.StationId
    event_time: fields.Time
    seq: int
    scored_time: fields.Time
    stored_time: fields.Time

    @classmethod
    def from_row(cls, row: AnomalyRow, model_name: str, feedback: FeedbackRow | None) -> Self:
        """What is stored, with what was said of it."""
        judged = Judged.from_verdict(row.score, row.severity, row.flags, row.verdict)
        leading = max(judged.sensors, key=lambda sensor: sensor.contribution or 0.0, default=SensorShare())
        return cls.of(
            row,
            id=anomaly_id(row.station_id, row.event_ms, row.seq),
            **msgspec.structs.asdict(judged),
            leading_sensor=leading.name,
            late=bool(row.flags & Flag.LATE),
            model=Model(model_name, str(row.model_version)),
            feedback=None if feedback is None else Feedback.from_row(feedback),
        )


class Anomalies(PagedAnswer):
    """A page of anomalies."""

    start: fields.Time
    end: fields.Time
    anomalies: Annotated[list[Anomaly], Meta(max_length=1000)]
