"""`GET /api/v1/drift`: what the retrainer's drift checks found. Reading it checks and changes nothing."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import msgspec
from apiflask import APIBlueprint
from flask import Response, jsonify

from api.http.interval import Interval, IntervalQuery, resolve
from api.http.problems import refuse_parameter
from api.http.query import STRICT
from api.http.request_hooks import revalidated
from api.http.times import rfc3339
from api.openapi import ok
from api.representations.common import FEEDBACK_VERDICTS, ref
from api.services.context import Context
from core.feedback import FALSE_POSITIVE, TRUE_POSITIVE, precision_of
from core.times import DAY_MS
from models.drift.report import DriftReport, DriftSummary
from storage.driver.session import Store
from storage.tables import drift_reports
from storage.tables.feedback import feedback_between

DEFAULT_RANGE = "7d"
LONGEST_MS = 31 * DAY_MS


def drift_routes(context: Context) -> APIBlueprint:
    """The newest report, and the checks of an interval in short."""
    routes = APIBlueprint("drift", __name__, url_prefix="/api/v1", tag="Model")
    routes.after_request(revalidated)

    @routes.get("/drift")
    @routes.input(IntervalQuery, location="query", arg_name="query", unknown=STRICT)
    @routes.doc(
        summary="How far readings have moved away from the training",
        description="The checks that the retrainer made in the interval (without one: the last 7 days; at most 31), "
        "and the newest of them whole. Effect sizes decide; `insufficient_data` says how many readings went where.",
        responses={200: ok("The checks.", ref("Drift"))},
    )
    def found(query: dict[str, Any]) -> Response:
        interval = resolve(query, context.now_ms(), DEFAULT_RANGE)
        if interval.end_ms - interval.start_ms > LONGEST_MS:
            raise refuse_parameter("time_range", "too_long", "drift checks are listed for at most 31 days at once")
        return jsonify(drift_document(context.store.get(), context.settings.model_name, interval))

    return routes


def drift_document(store: Store, model: str, interval: Interval) -> dict[str, Any]:
    """The answer of `/drift`.

    Raises:
        StoreUnavailable: Cassandra is away.
    """
    checks = drift_reports.summaries(store, model, *interval)
    newest = drift_reports.report(store, model, checks[0].checked_ms) if checks else None
    return {
        "model": model,
        "feedback": precision_shown(store, interval),
        "report": None if newest is None else report_shown(DriftReport.from_json(newest)),
        "checks": [check_shown(check) for check in checks],
    }


def precision_shown(store: Store, interval: Interval) -> dict[str, Any]:
    """How many of the anomalies of an interval that people spoke about were real."""
    said = Counter(row.verdict for row in feedback_between(store, *interval))
    found = precision_of(said[TRUE_POSITIVE], said[FALSE_POSITIVE])
    return {
        **{verdict: said[verdict] for verdict in FEEDBACK_VERDICTS},
        "precision": None if math.isnan(found.precision) else found.precision,
        "low": found.low,
        "high": found.high,
    }


def check_shown(check: drift_reports.DriftSummary) -> dict[str, Any]:
    """One check in short."""
    summary = msgspec.to_builtins(DriftSummary.from_json(check.summary))
    return {"checked_time": rfc3339(check.checked_ms), "model_version": str(check.model_version), **summary}


def report_shown(report: DriftReport) -> dict[str, Any]:
    """One check, whole."""
    document = msgspec.to_builtins(report)
    document["model_version"] = str(document["model_version"])
    document["checked_time"] = rfc3339(document.pop("checked_ms"))
    for window in document["windows"]:
        window["start"], window["end"] = rfc3339(window.pop("start_ms")), rfc3339(window.pop("end_ms"))
    return document
