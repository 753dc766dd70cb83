"""`/api/v1/counts`: how many anomalies, by time and by station, severity or sensor."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import Response, jsonify

from api.http.interval import Interval, IntervalQuery, resolve
from api.http.problems import refuse_parameter
from api.http.query import STRICT, Choice, Duration, parse_duration
from api.http.request_hooks import add_etag
from api.openapi import ok
from api.representations.counts import Counts
from api.services.context import Context
from core.times import MINUTE_MS
from storage.tables.anomaly_counts import GROUPS, Group, TooManyCounts

MOST_STEPS = 10_000


class CountsQuery(IntervalQuery):
    """Parameters of `/counts`."""

    step = Duration(required=False, metadata={"description": "length of a step, whole minutes; one step when left out"})
    group_by = Choice(*GROUPS)


def count_routes(context: Context) -> APIBlueprint:
    """Counts of anomalies."""
    routes = APIBlueprint("counts", __name__, url_prefix="/api/v1", tag="Anomalies")
    routes.after_request(add_etag)

    @routes.get("/counts")
    @routes.input(CountsQuery, location="query", arg_name="query", unknown=STRICT)
    @routes.doc(
        summary="How many anomalies",
        description="By event time, exact. Steps begin at multiples of `step` since 1970 in UTC. `group_by=sensor` "
        "counts an anomaly under the sensor that stands out. Without an interval: the last 24 h.",
        responses={200: ok("The counts.", Counts)},
    )
    def counts(query: dict[str, Any]) -> Response:
        return context.answers.get("counts", query, lambda: answer(query))

    def answer(query: dict[str, Any]) -> Response:
        interval = resolve(query, context.now_ms(), "24h")
        step_ms = _step(query.get("step"), interval)
        group: Group | None = query.get("group_by")
        try:
            found = context.counter.count(interval, step_ms, group or "severity")
        except TooManyCounts as error:
            said = f"{error} are more than one answer holds; choose a longer step or a shorter interval"
            raise refuse_parameter("step", "too_many", said) from error
        return jsonify(Counts.from_counted(interval, query.get("step"), step_ms, group, found))

    return routes


def _step(text: str | None, interval: Interval) -> int | None:
    if text is None:
        return None
    step_ms = parse_duration(text)
    if step_ms % MINUTE_MS:
        raise refuse_parameter("step", "bad_step", f"step = '{text}': expected whole minutes, such as 5m, 1h or 1d")
    if (interval.end_ms - interval.start_ms) // step_ms > MOST_STEPS:
        raise refuse_parameter(
            "step", "too_many", f"step = '{text}' makes over {MOST_STEPS} steps; choose a longer one"
        )
    return step_ms
