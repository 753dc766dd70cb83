"""The shapes of `/api/v1/drift`."""

from __future__ import annotations

from typing import get_args

from api.representations.common import (
    BOOLEAN,
    COUNT,
    NULLABLE_NUMBER,
    NULLABLE_TEXT,
    NUMBER,
    TEXT,
    TIME,
    Schema,
    listed,
    nullable,
    record,
    ref,
)
from models.drift.report import Answer, Moved

EFFECT = record({"effect": NUMBER, "low": NUMBER, "high": NUMBER})
ANSWER: Schema = {"enum": list(get_args(Answer))}
DRIFT_COUNTS = record(
    {
        "samples": COUNT,
        "late_or_warming_up": COUNT,
        "hours_not_in_training": COUNT,
        "flagged": COUNT,
        "used": COUNT,
        "stations": COUNT,
        "without_value": COUNT,
    }
)
FEATURE_DRIFT = record(
    {
        "name": {**TEXT, "examples": ["level:temperature", "innovation", "correlation:temperature~humidity"]},
        "rows": COUNT,
        "training_rows": COUNT,
        "effect": {
            **nullable(EFFECT),
            "description": "Wasserstein distance in standard deviations of the training, with its 95 % bounds; "
            "for a correlation how much it changed; null with too few rows",
        },
        "psi": {**nullable(EFFECT), "description": "population stability index"},
        "p_value": {**NULLABLE_NUMBER, "description": "as if readings were independent, which they are not"},
        "fired": {**BOOLEAN, "description": "the lower bound is beyond the stated effect"},
    }
)
VERDICT_DRIFT = record(
    {
        "flag_rate": NUMBER,
        "training_flag_rate": NUMBER,
        "change": EFFECT,
        "flips": record({"compared": COUNT, "to_flagged": COUNT, "to_normal": COUNT}),
        "fired": BOOLEAN,
    }
)
DRIFT_WINDOW = record(
    {
        "start": TIME,
        "end": TIME,
        "counts": DRIFT_COUNTS,
        "features": listed(ref("FeatureDrift")),
        "verdicts": nullable(VERDICT_DRIFT),
        "insufficient": {**NULLABLE_TEXT, "description": "why the window says nothing"},
    }
)
DRIFT_REPORT = record(
    {
        "model_version": TEXT,
        "checked_time": TIME,
        "answer": ANSWER,
        "sentence": TEXT,
        "persistent": {**listed(TEXT), "description": "features that fired in enough windows"},
        "needed": {**COUNT, "description": "windows in which a feature has to fire"},
        "moved": {"enum": [*get_args(Moved), None]},
        "reference": nullable(record({"readings": COUNT, "rows": COUNT, "stations": COUNT, "hours": listed(COUNT)})),
        "windows": {**listed(ref("DriftWindow")), "description": "oldest first"},
    }
)
DRIFT_CHECK = record(
    {
        "checked_time": TIME,
        "model_version": TEXT,
        "answer": ANSWER,
        "sentence": TEXT,
        "persistent": listed(TEXT),
        "effects": {"type": "object", "additionalProperties": NUMBER},
    }
)
FEEDBACK_PRECISION = record(
    {
        "true_positive": COUNT,
        "false_positive": COUNT,
        "expected": COUNT,
        "precision": {**NULLABLE_NUMBER, "description": "true positives among true and false ones; null without any"},
        "low": {**NUMBER, "description": "95 % Wilson interval"},
        "high": NUMBER,
    }
)
DRIFT = record(
    {
        "model": TEXT,
        "feedback": {**FEEDBACK_PRECISION, "description": "what people said of anomalies of the interval"},
        "report": {**nullable(ref("DriftReport")), "description": "the newest check; null before the first one"},
        "checks": {**listed(ref("DriftCheck")), "description": "of the interval, newest first"},
    }
)
LEGACY_DRIFT = record({"msg": TEXT, "drift": ref("Drift")})

DRIFT_COMPONENTS: dict[str, Schema] = {
    "FeatureDrift": FEATURE_DRIFT,
    "DriftWindow": DRIFT_WINDOW,
    "DriftReport": DRIFT_REPORT,
    "DriftCheck": DRIFT_CHECK,
    "Drift": DRIFT,
}
