"""One anomaly: what happened, why it was flagged, what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from api.http.opaque_ids import anomaly_id, identity_of
from api.pages.conditions import trouble
from api.pages.links import station_url
from api.pages.words import NOTHING, label, number, unit_shown
from api.services.context import Context
from core.errors import NotFound
from core.sensors import Sensor
from core.verdict import Flag
from models.scoring.rules import RULES
from storage.driver.session import Store
from storage.tables import anomalies
from storage.tables.anomalies import AnomalyRow
from storage.tables.feedback import FeedbackRow, feedback_of

FEEDBACK = (
    ("true_positive", "Right: something was wrong"),
    ("false_positive", "False alarm"),
    ("expected", "Expected: known work or a known state"),
)
WIDTH, EDGE = 400.0, 12.0
"""Of the drawing that puts a value beside its band, in its own units."""


def anomaly_view(store: Store, text: str, context: Context) -> dict[str, Any]:
    """Everything the page of one anomaly shows.

    Args:
        store: where from.
        text: the anomaly's id, as in its address.
        context: of the application.

    Raises:
        NotFound: no id, or nothing stored under it.
    """
    identity = identity_of(text)
    row = None if identity is None else anomalies.anomaly(store, *identity)
    if row is None:
        raise NotFound(f"anomaly {text!r}")
    said = feedback_of(store, [row[:3]]).get(row[:3])
    return {**shown(row, context.settings.sensors, said), "model_name": context.settings.model_name}


def shown(row: AnomalyRow, sensors: Sequence[Sensor], feedback: FeedbackRow | None) -> dict[str, Any]:
    """An anomaly in the words of the page, whatever release wrote its verdict."""
    verdict = _read(row.verdict)
    by_name = {sensor.name: sensor for sensor in sensors}
    judged = [
        _sensor(said, by_name.get(str(said.get("name"))), order)
        for order, said in enumerate(verdict.get("sensors") or [])
    ]
    judged.sort(key=lambda sensor: -sensor["share"])
    witnesses = [_witness(said) for said in verdict.get("witnesses") or []]
    witnesses.sort(key=lambda witness: (not witness["fired"], -witness["ratio"]))
    condition = trouble(row.severity)
    return {
        "title": f"{condition} · {row.station_id} · stationwatch",
        "id": anomaly_id(row.station_id, row.event_ms, row.seq),
        "station_id": row.station_id,
        "station_url": station_url(row.station_id),
        "event_ms": row.event_ms,
        "scored_ms": row.scored_ms,
        "stored_ms": row.stored_ms,
        "seq": row.seq,
        "condition": condition,
        "severity": round(row.severity),
        "score": f"{row.score:.2f}",
        "sentence": verdict.get("explanation") or "A reading beyond its limit; no explanation was stored with it.",
        "cause": verdict.get("cause") if isinstance(verdict.get("cause"), dict) else None,
        "action": _action(verdict.get("action")),
        "judged": judged,
        "witnesses": witnesses,
        "fired": sum(witness["fired"] for witness in witnesses),
        "rules": [{"name": label(rule.name), "said": rule.meaning} for rule in RULES if row.flags & rule.bit],
        "warming_up": bool(row.flags & Flag.WARMING_UP),
        "late": bool(row.flags & Flag.LATE),
        "version": row.model_version,
        "offset": f"{row.kafka_partition}@{row.kafka_offset}",
        "choices": FEEDBACK,
        "feedback": None if feedback is None else feedback._asdict(),
    }


def _read(verdict: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(verdict or "{}")
    except msgspec.MsgspecError:
        return {}
    return found if isinstance(found, dict) else {}


def _action(said: object) -> str | None:
    """What to do: the text of a verdict's action, or a bare text; None where there is neither."""
    text = said.get("text") if isinstance(said, dict) else said
    return text if isinstance(text, str) and text else None


def _sensor(said: Mapping[str, Any], known: Sensor | None, order: int) -> dict[str, Any]:
    """A sensor's part in the verdict; it may have left the catalogue since. `order` gives its colour."""
    sensor = known or Sensor("unknown")
    share = said.get("contribution") or 0.0
    return {
        "name": said.get("name"),
        "order": order,
        "label": label(str(said.get("name", "?"))),
        "unit": unit_shown(str(said.get("unit", ""))),
        "actual": number(said.get("actual"), sensor),
        "typical": number(said.get("typical"), sensor),
        "lower": number(said.get("lower"), sensor),
        "upper": number(said.get("upper"), sensor),
        "direction": said.get("direction"),
        "apart": _apart(said, sensor),
        "share": share,
        "percent": round(100 * share),
        "drawing": _drawing(said),
    }


def _apart(said: Mapping[str, Any], sensor: Sensor) -> str:
    actual, typical = said.get("actual"), said.get("typical")
    if actual is None or typical is None:
        return NOTHING
    return f"{'+' if actual >= typical else '−'}{number(abs(actual - typical), sensor)}"


def _drawing(said: Mapping[str, Any]) -> dict[str, Any] | None:
    """Where band, typical and actual value lie on a line of `WIDTH`; None where the band is not known."""
    edges: list[Any] = [said.get(name) for name in ("actual", "typical", "lower", "upper")]
    if any(edge is None for edge in edges):
        return None
    actual, typical, lower, upper = edges
    low, high = min(lower, actual), max(upper, actual)
    if not low < high:
        return None

    def at(value: float) -> float:
        return round(EDGE + (WIDTH - 2 * EDGE) * (value - low) / (high - low), 1)

    return {
        "lower": at(lower),
        "band": round(at(upper) - at(lower), 1),
        "typical": at(typical),
        "actual": at(actual),
        "outside": not lower <= actual <= upper,
    }


def _witness(said: Mapping[str, Any]) -> dict[str, Any]:
    score, threshold = said.get("score"), said.get("threshold")
    kind, _, sensor = str(said.get("name", "?")).partition(":")
    return {
        "name": "Isolation Forest" if kind == "iforest" else label(kind),
        "sensor": label(sensor) if sensor else "All sensors",
        "score": NOTHING if score is None else f"{score:.3g}",
        "threshold": NOTHING if threshold is None else f"{threshold:.3g}",
        "ratio": score / threshold if score is not None and threshold else 0.0,
        "fired": bool(said.get("fired")),
    }
