"""Stored rows as the API shows them. Numbers leave finite or as null."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np

from api.http.opaque_ids import anomaly_id
from api.http.times import rfc3339
from core.sensors import Sensor
from core.station_silence import is_silent
from core.verdict import Flag, severity_class
from models.scoring.rules import rules_of
from storage.tables.anomalies import AnomalyRow
from storage.tables.feedback import FeedbackRow
from storage.tables.minutes import MinuteRow, SensorMinute
from storage.tables.readings import ReadingRow
from storage.tables.stations import StationRow


class SensorSaid(msgspec.Struct):
    """A sensor's part in a verdict; what an older release did not write is None."""

    name: Any = None
    unit: Any = None
    actual: Any = None
    typical: Any = None
    lower: Any = None
    upper: Any = None
    direction: Any = None
    contribution: Any = None


class WitnessSaid(msgspec.Struct):
    """A witness' part in a verdict."""

    name: Any = None
    score: Any = None
    threshold: Any = None
    fired: Any = None


class Said(msgspec.Struct):
    """The members of a stored explanation that the contract knows. Decoded into these, a verdict costs a fifth."""

    sensors: list[SensorSaid] = []
    witnesses: list[WitnessSaid] = []
    explanation: str = ""
    cause: Any = None
    action: Any = None
    p_value: Any = None


_read = msgspec.json.Decoder(Said).decode


def anomaly_shown(row: AnomalyRow, model_name: str, feedback: FeedbackRow | None) -> dict[str, Any]:
    """One anomaly."""
    verdict = said_of(row.verdict)
    leading = max(verdict.sensors, key=lambda sensor: sensor.contribution or 0.0, default=SensorSaid())
    return {
        "id": anomaly_id(row.station_id, row.event_ms, row.seq),
        "station_id": row.station_id,
        "event_time": rfc3339(row.event_ms),
        "seq": row.seq,
        "scored_time": rfc3339(row.scored_ms),
        "stored_time": rfc3339(row.stored_ms),
        **judged_shown(row.score, row.severity, row.flags, verdict),
        "leading_sensor": leading.name,
        "late": bool(row.flags & Flag.LATE),
        "model": {"name": model_name, "version": str(row.model_version)},
        "feedback": None if feedback is None else feedback_shown(feedback),
    }


def judged_shown(score: float, severity: float, flags: int, verdict: Said) -> dict[str, Any]:
    """What is said of a reading, whether it was stored or only asked about."""
    return {
        "is_anomaly": bool(flags & Flag.ANOMALY),
        "score": score,
        "threshold": 1.0,
        "severity": rounded(severity),
        "severity_class": severity_class(severity),
        "state": "warming_up" if flags & Flag.WARMING_UP else "stable",
        "sensors": verdict.sensors,
        "witnesses": verdict.witnesses,
        "rules": rules_of(flags),
        "explanation": verdict.explanation,
        "cause": _texts(verdict.cause, ("hint", "evidence")),
        "action": _texts(verdict.action, ("text",)),
        "p_value": verdict.p_value,
    }


def said_of(verdict: str | bytes) -> Said:
    """A stored explanation, whatever release wrote it."""
    try:
        return _read(verdict)
    except msgspec.MsgspecError:
        return Said()


def _texts(part: object, names: tuple[str, ...]) -> dict[str, str] | None:
    """The named texts of a part of an explanation; None when an older release did not write it."""
    return {name: str(part.get(name, "")) for name in names} if isinstance(part, dict) else None


def feedback_shown(row: FeedbackRow) -> dict[str, Any]:
    """What was said of an anomaly."""
    return {"verdict": row.verdict, "comment": row.comment, "time": rfc3339(row.given_ms), "given_by": row.given_by}


def station_shown(
    row: StationRow, sensors: Iterable[Sensor], stale: bool, now_ms: int, group: str | None
) -> dict[str, Any]:
    """One station and its group; while the stream is stale nobody is heard, so that nobody can be called silent."""
    silent = is_silent(row.last_record_ms, row.typical_interval_seconds, now_ms)
    return {
        "station_id": row.station_id,
        "group": group,
        "condition": "unknown" if stale else "silent" if silent else "reporting",
        "last_seen": rfc3339(row.last_record_ms),
        "event_time": rfc3339(row.clock_ms),
        "readings": row.readings,
        "typical_interval_seconds": rounded(row.typical_interval_seconds),
        "sensors": [
            {"name": sensor.name, "unit": sensor.unit, "value": row.sensors.get(sensor.name)} for sensor in sensors
        ],
    }


def reading_shown(row: ReadingRow, sensors: Iterable[Sensor]) -> dict[str, Any]:
    """One reading; null where a sensor's value was missing."""
    return {
        "event_time": rfc3339(row.event_ms),
        "seq": row.seq,
        "sensors": {sensor.name: row.sensors.get(sensor.name) for sensor in sensors},
        "score": row.score,
        "severity": rounded(row.severity),
        "is_anomaly": bool(row.flags & Flag.ANOMALY),
        "late": bool(row.flags & Flag.LATE),
        "rules": rules_of(row.flags),
        "model_version": str(row.model_version),
    }


def minute_shown(row: MinuteRow, closed: bool) -> dict[str, Any]:
    """One minute of a station; a sensor without any value in it is absent."""
    return {
        "time": rfc3339(row.minute_ms),
        "closed": closed,
        "readings": row.readings,
        "sensors": {
            name: {**{column: rounded(value) for column, value in held._asdict().items()}, **_exact(held)}
            for name, held in row.sensors.items()
        },
    }


def _exact(held: SensorMinute) -> dict[str, float]:
    """What is stored in 64 bits."""
    return {"mean": held.mean, "readings": held.readings}


def rounded(number: float | None) -> float | None:
    """The shortest decimal of what is stored in 32 bits: 21.4, not 21.399999618530273."""
    return None if number is None else float(str(np.float32(number)))
