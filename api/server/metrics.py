"""`/metrics`: how long requests take, and which build this is."""

from __future__ import annotations

import time

from apiflask import APIFlask
from flask import Blueprint, Response, g, request
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from api.services.context import Context
from api.services.plant_metrics import StationsCollector
from core.release import release

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.3, 0.5, 1.0, 2.0, 5.0)


def register_metrics(app: APIFlask, context: Context) -> None:
    """Time every request of `app` and serve the numbers.

    The registry lives in this process, which is enough: the server runs one worker process with many threads.
    """
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(StationsCollector(context))  # type: ignore[arg-type]
    build = Gauge("iot_build_info", "Always 1; the label names the build.", ["version"], registry=registry)
    build.labels(release()).set(1)
    seconds = Histogram(
        "http_request_duration_seconds",
        "Time from the first line of a request to its response, by route template.",
        ["route", "method", "status"],
        buckets=_BUCKETS,
        registry=registry,
    )

    @app.after_request
    def observe(response: Response) -> Response:
        # Never the path itself: its variety would be the client's to choose.
        route = request.url_rule.rule if request.url_rule else "unmatched"
        method = request.method if request.method in _METHODS else "other"
        seconds.labels(route, method, response.status_code).observe(time.perf_counter() - g.begun)
        return response

    routes = Blueprint("metrics", __name__)

    @routes.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    app.register_blueprint(routes)
