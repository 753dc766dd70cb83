"""The reference implementation's routes, with its shapes: clients exist."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from apiflask.fields import Integer
from flask import Response, jsonify

from api.http.body import declare_body, json_object, refuse_strays
from api.http.interval import resolve
from api.http.query import STRICT, BoundedInteger, Duration, StrictQuery
from api.openapi import ok
from api.representations.drift import Drift
from api.representations.jobs import Job
from api.representations.legacy import LEGACY_NAMES, LatestAnomalies, LegacyDrift, LegacyVerdict, OutliersCount
from api.representations.predictions import legacy_reading
from api.services.context import Context
from api.services.scoring_service import ScoreRequest
from api.v1.drift import DEFAULT_RANGE
from api.v1.jobs import file_and_show
from api.v1.predict import value_of
from storage.tables.anomaly_scan import latest
from storage.tables.jobs import RETRAIN

# When these addresses were declared deprecated (RFC 9745): 2026-11-21.
DEPRECATION = "@1795219200"
NOT_CHECKED = "No drift check in the last 7 days."


class LatestQuery(StrictQuery):
    """Parameters of `/api/latest_anomalies`."""

    limit: Integer = BoundedInteger(1, 1000, load_default=10, metadata={"description": "how many anomalies"})


class CountQuery(StrictQuery):
    """Parameters of `/api/outliers_count`."""

    time_range = Duration(required=True)


def legacy_routes(context: Context) -> APIBlueprint:
    """The thin aliases; each answer says that it is deprecated."""
    routes = APIBlueprint("legacy", __name__, url_prefix="/api", tag="Reference routes")
    sensors, scoring = context.settings.sensors, context.scoring
    anomalies = LatestAnomalies(sensors)
    fields = {sensor: field for field, sensor in LEGACY_NAMES.items()}
    fields = {sensor.name: fields.get(sensor.name, sensor.name) for sensor in sensors}

    @routes.get("/latest_anomalies")
    @routes.input(LatestQuery, location="query", arg_name="query", unknown=STRICT)
    @routes.doc(
        summary="The newest anomalies",
        description=_about_latest(anomalies.further),
        responses={200: ok("The newest anomalies by event time, newest first.", anomalies.schema)},
        deprecated=True,
    )
    def latest_anomalies(query: dict[str, Any]) -> Response:
        return context.answers.get("latest_anomalies", query, lambda: newest(query["limit"]))

    def newest(limit: int) -> Response:
        store = context.store.get()
        found = latest(store, limit, context.now_ms())
        runs = context.versions.run_ids(store, context.settings.model_name, {row.model_version for row in found})
        return jsonify([anomalies.from_row(row, runs.get(row.model_version)) for row in found])

    @routes.get("/outliers_count")
    @routes.input(CountQuery, location="query", arg_name="query", unknown=STRICT)
    @routes.doc(
        summary="How many anomalies in the last …",
        description="Counts anomalies by event time in [now - time_range, now + 5 min]: a station's clock may be up to "
        "five minutes ahead, and an anomaly that is listed is counted.",
        responses={200: ok("The count, and the range as it was given.", OutliersCount)},
        deprecated=True,
    )
    def outliers_count(query: dict[str, Any]) -> Response:
        interval = resolve(query, context.now_ms(), query["time_range"])
        found = int(context.counter.count(interval, None, "severity").counts.sum())
        return jsonify(OutliersCount(query["time_range"], found))

    @routes.post("/predict")
    @routes.doc(
        summary="Judge one reading",
        description="As the first reading of a station nobody knows. Sensors beyond the reference's three come under "
        "their own names.",
        responses={200: ok("The verdict, and the values as they were sent.", LegacyVerdict)},
        deprecated=True,
    )
    @declare_body(legacy_reading({fields[sensor.name]: sensor for sensor in sensors}))
    def legacy_predict() -> Response:
        document = json_object()
        values = tuple(value_of(document, sensor, fields[sensor.name]) for sensor in sensors)
        refuse_strays(document, list(fields.values()))
        store = context.store.get()
        version = scoring.champion(store)
        (verdict,) = scoring.judge_globally(version, [ScoreRequest(None, context.now_ms(), values)])
        return jsonify(LegacyVerdict(verdict.is_anomaly, document, str(version.number)))

    @routes.get("/check_drift_retrain")
    @routes.doc(
        summary="The newest drift check",
        description="Reports, and changes nothing; `POST` files a retraining.",
        responses={200: ok("In words, and the checks of the last 7 days beside it.", LegacyDrift)},
        deprecated=True,
    )
    def check_drift() -> Response:
        interval = resolve({}, context.now_ms(), DEFAULT_RANGE)
        document = Drift.read(context.store.get(), context.settings.model_name, interval)
        return jsonify(LegacyDrift(document.checks[0].sentence if document.checks else NOT_CHECKED, document))

    @routes.post("/check_drift_retrain")
    @routes.doc(
        summary="File a retraining",
        description="As `POST /api/v1/jobs`, without a body.",
        responses={202: ok("Filed; `Location` says where to look.", Job)},
        deprecated=True,
    )
    def check_drift_retrain() -> Response:
        return file_and_show(context, RETRAIN, {})

    @routes.after_request
    def deprecated(response: Response) -> Response:
        response.headers["Deprecation"] = DEPRECATION
        return response

    return routes


def _about_latest(further: list[str]) -> str:
    return (
        "`record_time` is the reading's event time, `noise_level` the sensor `noise`, `mlflow_id` the run of the model "
        "version that judged. A value is null where the reading lacked it or no such sensor is configured. "
        f"Further sensors appear under their own names (configured here: {', '.join(further) or 'none'})."
    )
