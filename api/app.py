"""The application: every module of routes, put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from apiflask import APIFlask

from api.http.limits import check_time, register_limits
from api.http.problems import register_problems
from api.http.request_hooks import register_request_hooks
from api.http.store_connection import REQUEST_TIMEOUT_SECONDS, StoreConnection, StoreProvider
from api.openapi import docs_routes, register_openapi
from api.pages import page_routes
from api.security.auth import register_auth
from api.server.health import health_routes
from api.server.metrics import register_metrics
from api.services.context import Context, wall_clock_ms
from api.services.count_maintenance import CountKeeper
from api.v1 import blueprints
from core.release import release
from core.settings import Settings
from storage.driver.session import Store, StoreConfig, connect, declared_reads
from storage.tables import anomaly_scan, artefacts, stations, stream_progress

LIVE_FEED = "stationwatch-live-feed"
COUNT_KEEPER = "stationwatch-count-keeper"


def create_app(
    settings: Settings, store_provider: StoreProvider | None = None, now_ms: Callable[[], int] = wall_clock_ms
) -> APIFlask:
    """Build the application.

    Args:
        settings: of this process.
        store_provider: the way to Cassandra; one that connects in the background unless given.
        now_ms: the clock, ms since the epoch.

    Raises:
        SettingsError: the tokens file cannot be used.
    """
    context = Context(settings, store_provider or store_handle(settings), now_ms)
    app = APIFlask("api", title="stationwatch", version=release(), docs_path=None)
    register_request_hooks(app)
    register_metrics(app, context)
    register_auth(app, settings, context.store.get)
    register_limits(app, settings.api_requests_per_minute)
    register_problems(app, context.store)
    register_openapi(app)
    app.extensions[LIVE_FEED] = context.live_feed
    app.extensions[COUNT_KEEPER] = CountKeeper(context)
    for routes in (health_routes(context), *blueprints(context), page_routes(context), docs_routes()):
        app.register_blueprint(routes)
    return app


def store_handle(settings: Settings) -> StoreConnection:
    """The API's store: short timeouts, connected in the background, warmed up with what the routes ask."""
    config = replace(StoreConfig.from_settings(settings), request_timeout_seconds=REQUEST_TIMEOUT_SECONDS)
    return StoreConnection(
        connect=lambda: connect(config, deadline_seconds=0.0),
        warm_up=lambda store: warm_up(store, settings),
        probe=lambda store: stream_progress.progress(store, settings.readings_topic),
        check=check_time,
    )


def warm_up(store: Store, settings: Settings) -> None:
    """Prepare what the routes read, and read a little: so the first person who asks does not wait for either."""
    for read in declared_reads():
        store.prepared(read)
    anomaly_scan.latest(store, 1, wall_clock_ms())
    artefacts.versions(store, settings.model_name)
    stations.stations(store)
