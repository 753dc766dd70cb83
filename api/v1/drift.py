"""`GET /api/v1/drift`: what the retrainer's drift checks found. Reading it checks and changes nothing."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import Response, jsonify

from api.http.interval import IntervalQuery, resolve
from api.http.problems import refuse_parameter
from api.http.query import STRICT
from api.http.request_hooks import add_etag
from api.openapi import ok
from api.representations.drift import Drift
from api.services.context import Context
from core.times import DAY_MS

DEFAULT_RANGE = "7d"
LONGEST_MS = 31 * DAY_MS


def drift_routes(context: Context) -> APIBlueprint:
    """The newest report, and the checks of an interval in short."""
    routes = APIBlueprint("drift", __name__, url_prefix="/api/v1", tag="Model")
    routes.after_request(add_etag)

    @routes.get("/drift")
    @routes.input(IntervalQuery, location="query", arg_name="query", unknown=STRICT)
    @routes.doc(
        summary="How far readings have moved away from the training",
        description="The checks that the retrainer made in the interval (without one: the last 7 days; at most 31), "
        "and the newest of them whole. Effect sizes decide; `insufficient_data` says how many readings went where.",
        responses={200: ok("The checks.", Drift)},
    )
    def found(query: dict[str, Any]) -> Response:
        interval = resolve(query, context.now_ms(), DEFAULT_RANGE)
        if interval.end_ms - interval.start_ms > LONGEST_MS:
            raise refuse_parameter("time_range", "too_long", "drift checks are listed for at most 31 days at once")
        return jsonify(Drift.read(context.store.get(), context.settings.model_name, interval))

    return routes
