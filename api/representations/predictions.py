"""Verdicts that were only asked for: predictions and replays, as the API shows them, and what may be asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from api.representations import fields
from api.representations.anomalies import Judged
from api.representations.common import Answer, Model, Schema, nullable
from core.reading import SCHEMA_VERSION
from core.sensors import Sensor

CONTEXTS = ("own", "global")
MOST_READINGS = 1000

PredictContext = Annotated[str, Meta(extra_json_schema={"enum": list(CONTEXTS), "default": "global"})]


class Verdict(Judged, kw_only=True):
    """What is said of a reading that was asked about."""

    late: bool


class PredictedVerdict(Verdict):
    """The same, with the reading it is said of."""

    station_id: fields.StationId | None
    event_time: fields.Time
    seq: int | None


class Predicted(Answer):
    """A verdict for each reading, in their order."""

    model: Model
    context: PredictContext
    verdicts: list[PredictedVerdict]


COMPARED = ("is_anomaly", "score", "severity", "severity_class", "state", "rules")
Compared = msgspec.defstruct(
    "Compared", [(field.name, field.type) for field in msgspec.structs.fields(Judged) if field.name in COMPARED]
)


class Replayed(Answer):
    """A stored verdict, and the one that is computed again."""

    id: str
    model: Model
    stored: Compared  # type: ignore[valid-type]
    recomputed: Compared  # type: ignore[valid-type]
    equal: Annotated[bool, fields.about("same flags, and scores within 1e-6")]


def compared(score: float, severity: float, flags: int) -> Any:
    """The part of a verdict that a replay compares."""
    judged = Judged.from_verdict(score, severity, flags, b"")
    return Compared(*(getattr(judged, name) for name in COMPARED))


def values_of(sensors: Mapping[str, Sensor]) -> tuple[dict[str, Schema], list[str]]:
    """The members that hold a reading's values, by the names they have there, and which of them must be there."""
    members = {
        name: {"type": ["number", "null"], "minimum": sensor.hard[0], "maximum": sensor.hard[1]}
        for name, sensor in sensors.items()
    }
    return members, [name for name, sensor in sensors.items() if not sensor.optional]


def legacy_reading(sensors: Mapping[str, Sensor]) -> Schema:
    """The body of `/api/predict`."""
    members, required = values_of(sensors)
    return {"type": "object", "properties": members, "required": required, "additionalProperties": False}


def readings_to_judge(sensors: Iterable[Sensor]) -> Schema:
    """The body of `/api/v1/predict`: one reading, or several."""
    members, required = values_of({sensor.name: sensor for sensor in sensors})
    reading: Schema = {
        "type": "object",
        "properties": {
            "schema_version": {"const": SCHEMA_VERSION},
            "station_id": nullable(msgspec.json.schema(fields.StationId)),
            "event_time": {"type": "string", "format": "date-time"},
            "seq": {"type": ["integer", "null"], "minimum": -(2**63), "maximum": 2**63 - 1},
            **members,
        },
        "required": required,
        "additionalProperties": False,
    }
    context = msgspec.json.schema(PredictContext)
    several = {
        "type": "object",
        "properties": {
            "readings": {"type": "array", "items": reading, "minItems": 1, "maxItems": MOST_READINGS},
            "context": context,
        },
        "required": ["readings"],
        "additionalProperties": False,
    }
    return {"anyOf": [several, {**reading, "properties": {**reading["properties"], "context": context}}]}
