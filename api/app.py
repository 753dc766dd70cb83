"""The application: every module of routes, put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from apiflask import APIFlask

from api.auth import register_auth
from api.context import Context, wall_clock_ms
from api.exchange import register_exchange
from api.health import health_routes
from api.json_format import MsgspecJson
from api.legacy import legacy_routes
from api.metrics import build_version, register_metrics
from api.openapi import register_openapi
from api.pages import page_routes
from api.problems import register_problems
from api.store_handle import REQUEST_TIMEOUT_SECONDS, StoreHandle, StoreProvider
from api.tokens import read_tokens
from settings import Settings
from storage import anomalies, artefacts, stations, stream
from storage.session import Store, StoreConfig, connect


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
    tokens = read_tokens(settings.api_tokens_file) if settings.api_tokens_file else []
    context = Context(settings, store_provider or store_handle(settings), now_ms)
    app = APIFlask("api", title="stationwatch", version=build_version(), docs_path=None)
    app.json = MsgspecJson(app)
    register_exchange(app)
    register_metrics(app, context)
    register_auth(app, tokens, settings.api_host)
    register_problems(app, context.store)
    register_openapi(app)
    for routes in (health_routes(context), legacy_routes(context), page_routes(context)):
        app.register_blueprint(routes)
    return app


def store_handle(settings: Settings) -> StoreHandle:
    """The API's store: short timeouts, connected in the background, warmed up with what the routes ask."""
    config = replace(StoreConfig.from_settings(settings), request_timeout_seconds=REQUEST_TIMEOUT_SECONDS)

    def warm_up(store: Store) -> None:
        now = wall_clock_ms()
        anomalies.latest(store, 1, now)
        # Named, because without anomalies nothing above asks for them.
        store.prepared(anomalies.SELECT_LATEST)
        store.prepared(anomalies.SELECT_COUNT)
        artefacts.versions(store, settings.model_name)
        next(stations.stations(store), None)

    return StoreHandle(
        connect=lambda: connect(config, deadline_seconds=0.0),
        warm_up=warm_up,
        probe=lambda store: stream.progress(store, settings.readings_topic),
    )
