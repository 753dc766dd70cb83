"""`POST /api/v1/predict`: what would be said of these readings? Nothing is stored and nothing learnt."""

from __future__ import annotations

import math
from typing import Any

import msgspec
from apiflask import APIBlueprint
from flask import Response, jsonify

from api.http.body import declare_body, json_object, quote, refuse_body, refuse_strays
from api.http.times import rfc3339
from api.openapi import ok
from api.representations.common import Model
from api.representations.predictions import (
    CONTEXTS,
    MOST_READINGS,
    Predicted,
    PredictedVerdict,
    readings_to_judge,
)
from api.services.context import Context
from api.services.scoring_service import ScoreRequest
from core.errors import InvalidReading
from core.reading import SCHEMA_VERSION, STATION_ID, event_ms_of
from core.sensors import Sensor

_COMMON = ["schema_version", "station_id", "event_time", "seq"]
_INT64 = range(-(2**63), 2**63)


def predict_routes(context: Context) -> APIBlueprint:
    """One route."""
    scoring = context.scoring
    routes = APIBlueprint("predict", __name__, url_prefix="/api/v1", tag="Model")

    @routes.post("/predict")
    @routes.doc(
        summary="Judge readings",
        description="One reading, or up to 1,000 as `readings`; each with every sensor of the catalogue, a number or "
        'null. `"context": "own"` judges each as the next reading of its station, with the statistics the stream last '
        'stored (at most some 10 s old); `"global"`, the default, as the first of a station nobody knows, by the '
        "model's reference. Each is judged by itself: nothing is learnt from the others. `event_time` is now "
        "unless given.",
        responses={200: ok("A verdict for each reading, in their order.", Predicted)},
    )
    @declare_body(readings_to_judge(scoring.sensors))
    def predict() -> Response:
        document = json_object()
        asked_context, readings = parse_request(document, scoring.sensors, context.now_ms())
        store = context.store.get()
        version = scoring.champion(store)
        if asked_context == "own":
            verdicts = scoring.judge_own(store, version, [reading for reading, _ in readings])
        else:
            verdicts = scoring.judge_globally(version, [reading for reading, _ in readings])
        return jsonify(
            Predicted(
                Model(context.settings.model_name, str(version.number)),
                asked_context,
                [
                    PredictedVerdict(one.station_id, rfc3339(one.event_ms), seq, **msgspec.structs.asdict(verdict))
                    for (one, seq), verdict in zip(readings, verdicts, strict=True)
                ],
            )
        )

    return routes


def parse_request(
    document: dict[str, Any], sensors: tuple[Sensor, ...], now_ms: int
) -> tuple[str, list[tuple[ScoreRequest, int | None]]]:
    """The context of a body, and its readings with their seq.

    Raises:
        HTTPError: 422; the member, its value and what is expected are named.
    """
    context = document.get("context", "global")
    if context not in CONTEXTS:
        raise refuse_body("context", "unknown_value", f"context is {quote(context)}; expected one of own, global")
    if "readings" not in document:
        one = {name: value for name, value in document.items() if name != "context"}
        return context, [_reading(one, sensors, now_ms, context, "")]
    refuse_strays(document, ["context", "readings"])
    readings = document["readings"]
    if not isinstance(readings, list) or not 1 <= len(readings) <= MOST_READINGS:
        found = f"{len(readings)} of them" if isinstance(readings, list) else quote(readings)
        raise refuse_body("readings", "out_of_range", f"readings: {found}; expected a list of 1 to {MOST_READINGS}")
    return context, [
        _reading(one, sensors, now_ms, context, f"readings/{place}/") for place, one in enumerate(readings)
    ]


def _reading(
    given: Any, sensors: tuple[Sensor, ...], now_ms: int, context: str, pointer: str
) -> tuple[ScoreRequest, int | None]:
    if not isinstance(given, dict):
        raise refuse_body(pointer.rstrip("/"), "wrong_type", f"{quote(given)} is no reading; expected an object")
    refuse_strays(given, [*_COMMON, *(sensor.name for sensor in sensors)], pointer)
    if given.get("schema_version", SCHEMA_VERSION) is not SCHEMA_VERSION:
        raise _wrong(pointer, "schema_version", given, f"{SCHEMA_VERSION}")
    station_id, seq = given.get("station_id"), given.get("seq")
    if (station_id is None and context == "own") or not _is_id(station_id):
        raise _wrong(pointer, "station_id", given, f"{STATION_ID.pattern}")
    if seq is not None and (type(seq) is not int or seq not in _INT64):
        raise _wrong(pointer, "seq", given, "a 64-bit integer")
    values = tuple(value_of(given, sensor, sensor.name, pointer) for sensor in sensors)
    return ScoreRequest(station_id, _moment(given, now_ms, pointer), values), seq


def value_of(given: dict[str, Any], sensor: Sensor, name: str, pointer: str = "") -> float:
    """A sensor's value in a reading, NaN where it is missing.

    Args:
        given: the reading.
        sensor: of the catalogue.
        name: the sensor's name in the reading.
        pointer: of the reading in the body.

    Raises:
        HTTPError: 422; absent though not optional, no number, or physically impossible.
    """
    if name not in given and not sensor.optional:
        raise _wrong(pointer, name, given, "a number or null")
    value = given.get(name)
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(pointer, name, given, "a number or null")
    low, high = sensor.hard
    if not low <= value <= high:
        raise refuse_body(
            f"{pointer}{name}", "out_of_physics", f"{name} is {quote(value)}; possible is {low:g}…{high:g}"
        )
    return float(value)


def _is_id(station_id: Any) -> bool:
    return station_id is None or (isinstance(station_id, str) and STATION_ID.fullmatch(station_id) is not None)


def _moment(given: dict[str, Any], now_ms: int, pointer: str) -> int:
    if "event_time" not in given:
        return now_ms
    expected = "an RFC 3339 time with offset, such as 2026-11-21T10:15:04.250Z, from 1970 on"
    try:
        moment = event_ms_of(given["event_time"]) if isinstance(given["event_time"], str) else -1
    except InvalidReading:
        moment = -1
    if moment < 0:
        raise _wrong(pointer, "event_time", given, expected)
    return moment


def _wrong(pointer: str, name: str, given: dict[str, Any], expected: str) -> Exception:
    found = f"is {quote(given[name])}" if name in given else "is absent"
    code = "wrong_value" if name in given else "missing"
    return refuse_body(f"{pointer}{name}", code, f"{name} {found}; expected {expected}")
