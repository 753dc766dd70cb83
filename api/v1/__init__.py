"""The routes under `/api`. A further resource is a file of this package and a line of `ROUTES`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from apiflask import APIBlueprint

from api.services.context import Context
from api.v1.alarms import alarm_routes
from api.v1.anomalies import anomaly_routes
from api.v1.anomaly_feedback import feedback_routes
from api.v1.anomaly_replay import replay_routes
from api.v1.counts import count_routes
from api.v1.drift import drift_routes
from api.v1.jobs import job_routes
from api.v1.legacy import legacy_routes
from api.v1.live import live_routes
from api.v1.predict import predict_routes
from api.v1.stations import station_routes

ROUTES: tuple[Callable[[Context], APIBlueprint], ...] = (
    legacy_routes,
    live_routes,
    alarm_routes,
    anomaly_routes,
    count_routes,
    drift_routes,
    feedback_routes,
    job_routes,
    predict_routes,
    replay_routes,
    station_routes,
)


def blueprints(context: Context) -> Iterator[APIBlueprint]:
    """Yield the routes of every resource."""
    for routes in ROUTES:
        yield routes(context)
