"""The shapes of the answers: JSON schemas, declared once, shown in /openapi.json and held against answers in tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from core.reading import STATION_ID
from core.sensors import Sensor
from models.scoring.rules import RULES

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
NULLABLE_NUMBER: Schema = {"type": ["number", "null"]}
NULLABLE_TEXT: Schema = {"type": ["string", "null"]}
COUNT: Schema = {"type": "integer", "minimum": 0}
BOOLEAN: Schema = {"type": "boolean"}
TIME: Schema = {
    "type": "string",
    "format": "date-time",
    "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
    "examples": ["2026-11-21T10:15:04.250Z"],
}
STATION: Schema = {"type": "string", "pattern": f"^{STATION_ID.pattern}$", "examples": ["station-0007"]}
SEVERITY_CLASS: Schema = {"enum": ["critical", "major", "minor", "warning", "low"]}
FEEDBACK_VERDICTS = ("true_positive", "false_positive", "expected")


def record(required: Schema, optional: Schema | None = None, **more: Any) -> Schema:
    """An object with exactly these members."""
    members = {**required, **(optional or {})}
    return {
        "type": "object",
        "required": list(required),
        "properties": members,
        "additionalProperties": False,
        **more,
    }


def listed(items: Schema, **more: Any) -> Schema:
    """An array."""
    return {"type": "array", "items": items, **more}


def ref(name: str) -> Schema:
    """A reference to one of `COMPONENTS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def nullable(schema: Schema) -> Schema:
    """The schema, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


MODEL = record({"name": TEXT, "version": TEXT})
SENSOR_SHARE = record(
    {
        "name": TEXT,
        "unit": {**TEXT, "description": "UCUM code"},
        "actual": NULLABLE_NUMBER,
        "typical": NULLABLE_NUMBER,
        "lower": NULLABLE_NUMBER,
        "upper": NULLABLE_NUMBER,
        "direction": {"enum": ["above", "below", "equal", "missing", None]},
        "contribution": {**NULLABLE_NUMBER, "description": "share of this sensor in the verdict, 0 to 1"},
    }
)
WITNESS = record({"name": TEXT, "score": NULLABLE_NUMBER, "threshold": NULLABLE_NUMBER, "fired": BOOLEAN})
RULE: Schema = {"enum": sorted(rule.name for rule in RULES)}
JUDGED = {
    "is_anomaly": BOOLEAN,
    "score": {**NUMBER, "description": "1 is at its own limit; logarithmic above"},
    "threshold": {"const": 1.0},
    "severity": {"type": "number", "minimum": 0, "maximum": 100},
    "severity_class": SEVERITY_CLASS,
    "state": {"enum": ["stable", "warming_up"]},
    "sensors": listed(SENSOR_SHARE),
    "witnesses": listed(WITNESS),
    "rules": listed(RULE),
    "explanation": TEXT,
    "cause": nullable(
        record({"hint": {**TEXT, "description": "sensor_fault, process, environment or unknown"}, "evidence": TEXT})
    ),
    "action": nullable(record({"text": TEXT})),
    "p_value": {**NULLABLE_NUMBER, "description": "share of the training readings that scored as high"},
}
SHAP = listed(record({"name": TEXT, "value": {**NUMBER, "description": "multiples of the limit"}}))
SMALLEST_CHANGE = nullable(
    record({"sensor": TEXT, "actual": NULLABLE_NUMBER, "normal": NUMBER, "change": NULLABLE_NUMBER})
)
FEEDBACK = record(
    {
        "verdict": {"enum": list(FEEDBACK_VERDICTS)},
        "comment": TEXT,
        "time": TIME,
        "given_by": {**NULLABLE_TEXT, "description": "role of who said it"},
    }
)
ANOMALY = record(
    {
        "id": {**TEXT, "description": "base64url of station, event time and seq"},
        "station_id": STATION,
        "event_time": TIME,
        "seq": {"type": "integer"},
        "scored_time": TIME,
        "stored_time": TIME,
        **JUDGED,
        "leading_sensor": {**NULLABLE_TEXT, "description": "the sensor that contributes most"},
        "late": {**BOOLEAN, "description": "arrived behind later readings of its station"},
        "model": ref("Model"),
        "feedback": nullable(ref("Feedback")),
    },
    {"shap": SHAP, "smallest_change": SMALLEST_CHANGE},
)
INTERVAL = {"start": TIME, "end": TIME}
NEXT_PAGE = {"next_page_token": {**TEXT, "description": "absent at the end; a page may be short and have one"}}
ANOMALIES = record({**INTERVAL, "anomalies": listed(ref("Anomaly"), maxItems=1000)}, NEXT_PAGE)
SENSOR_VALUE = record({"name": TEXT, "unit": TEXT, "value": NULLABLE_NUMBER})
STATION_SHOWN = record(
    {
        "station_id": STATION,
        "group": {**NULLABLE_TEXT, "description": "stations that stand together, as configured"},
        "condition": {
            "enum": ["reporting", "silent", "unknown"],
            "description": "unknown while the stream gives no sign: then nobody is heard",
        },
        "last_seen": {**TIME, "description": "when its last reading reached Kafka"},
        "event_time": {**TIME, "description": "the station's clock: its newest believable event time"},
        "readings": COUNT,
        "typical_interval_seconds": NULLABLE_NUMBER,
        "sensors": listed(SENSOR_VALUE),
    }
)
STATIONS = record({"stations": listed(ref("Station"), maxItems=1000)}, NEXT_PAGE)
READING = record(
    {
        "event_time": TIME,
        "seq": {"type": "integer"},
        "sensors": {"type": "object", "additionalProperties": NULLABLE_NUMBER},
        "score": NUMBER,
        "severity": {"type": "number", "minimum": 0, "maximum": 100},
        "is_anomaly": BOOLEAN,
        "late": BOOLEAN,
        "rules": listed(RULE),
        "model_version": TEXT,
    }
)
SENSOR_MINUTE = record(
    {
        "minimum": NUMBER,
        "mean": NUMBER,
        "maximum": NUMBER,
        "readings": COUNT,
        "lower": NULLABLE_NUMBER,
        "typical": NULLABLE_NUMBER,
        "upper": NULLABLE_NUMBER,
    }
)
MINUTE = record(
    {
        "time": {**TIME, "description": "start of the minute"},
        "closed": {**BOOLEAN, "description": "false while readings may still be added"},
        "readings": COUNT,
        "sensors": {"type": "object", "additionalProperties": ref("SensorMinute")},
    }
)
READINGS = record(
    {
        "station_id": STATION,
        **INTERVAL,
        "resolution": {"enum": ["raw", "minute"]},
        "readings": listed({"anyOf": [ref("Reading"), ref("Minute")]}, maxItems=1000),
    },
    NEXT_PAGE,
)
COUNT_GROUP = record(
    {
        "key": {**NULLABLE_TEXT, "description": "station, severity class or sensor; null where no sensor stands out"},
        "total": COUNT,
        "counts": listed(COUNT),
    }
)
COUNTS = record(
    {
        **INTERVAL,
        "step": NULLABLE_TEXT,
        "group_by": {"enum": ["station", "severity", "sensor", None]},
        "total": COUNT,
        "times": {
            **listed(TIME),
            "description": "start of each step; the first and last count only what lies in the interval",
        },
        "counts": {**listed(COUNT), "description": "of each step, all groups together"},
        "groups": listed(ref("CountGroup")),
    }
)
ELASTIC_RECORD = record(
    {
        "job_id": TEXT,
        "result_type": {"const": "record"},
        "record_score": NUMBER,
        "initial_record_score": NUMBER,
        "detector_index": COUNT,
        "is_interim": BOOLEAN,
        "timestamp": {**COUNT, "description": "ms since the epoch"},
        "function": TEXT,
        "function_description": TEXT,
        "partition_field_name": TEXT,
        "partition_field_value": TEXT,
        "field_name": NULLABLE_TEXT,
        "actual": listed(NUMBER),
        "typical": listed(NUMBER),
        "influencers": listed(record({"influencer_field_name": TEXT, "influencer_field_values": listed(TEXT)})),
    }
)
LOOKOUT_RECORD = record(
    {
        "timestamp": TEXT,
        "prediction": {"enum": [0, 1]},
        "prediction_reason": {"enum": ["ANOMALY_DETECTED", "NO_ANOMALY_DETECTED"]},
        "anomaly_score": {"type": "number", "minimum": 0, "maximum": 1},
        "diagnostics": listed(record({"name": TEXT, "value": NUMBER})),
    }
)
RECORDS = record(
    {**INTERVAL, "count": COUNT, "records": listed({"anyOf": [ref("ElasticRecord"), ref("LookoutRecord")]})}, NEXT_PAGE
)
FEEDBACK_GIVEN = record({"verdict": {"enum": list(FEEDBACK_VERDICTS)}}, {"comment": {**TEXT, "maxLength": 2000}})
CONTEXT: Schema = {"enum": ["own", "global"], "default": "global"}


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
            "schema_version": {"const": 1},
            "station_id": nullable(STATION),
            "event_time": {"type": "string", "format": "date-time"},
            "seq": {"type": ["integer", "null"], "minimum": -(2**63), "maximum": 2**63 - 1},
            **members,
        },
        "required": required,
        "additionalProperties": False,
    }
    several = record({"readings": listed(reading, minItems=1, maxItems=1000)}, {"context": CONTEXT})
    return {"anyOf": [several, {**reading, "properties": {**reading["properties"], "context": CONTEXT}}]}


PREDICTED = record(
    {
        "model": ref("Model"),
        "context": CONTEXT,
        "verdicts": listed(
            record(
                {
                    "station_id": nullable(STATION),
                    "event_time": TIME,
                    "seq": {"type": ["integer", "null"]},
                    **JUDGED,
                    "late": BOOLEAN,
                }
            )
        ),
    }
)
_COMPARED = record(
    {name: JUDGED[name] for name in ("is_anomaly", "score", "severity", "severity_class", "state", "rules")}
)
REPLAYED = record(
    {
        "id": TEXT,
        "model": ref("Model"),
        "stored": _COMPARED,
        "recomputed": _COMPARED,
        "equal": {**BOOLEAN, "description": "same flags, and scores within 1e-6"},
    }
)
LEGACY_VERDICT = record(
    {
        "is_anomaly": BOOLEAN,
        "features": {"type": "object", "additionalProperties": NULLABLE_NUMBER},
        "model_version": TEXT,
    }
)

COMPONENTS: dict[str, Schema] = {
    "Model": MODEL,
    "Feedback": FEEDBACK,
    "Anomaly": ANOMALY,
    "Anomalies": ANOMALIES,
    "Station": STATION_SHOWN,
    "Stations": STATIONS,
    "Reading": READING,
    "SensorMinute": SENSOR_MINUTE,
    "Minute": MINUTE,
    "Readings": READINGS,
    "CountGroup": COUNT_GROUP,
    "Counts": COUNTS,
    "ElasticRecord": ELASTIC_RECORD,
    "LookoutRecord": LOOKOUT_RECORD,
    "Records": RECORDS,
    "FeedbackGiven": FEEDBACK_GIVEN,
    "Predicted": PREDICTED,
    "Replayed": REPLAYED,
}
