"""The application: every module of routes, put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from apiflask import APIFlask

from api.http.limits import check_time, register_limits
from api.http.problems import register_problems
from api.http.request_hooks import register_request_hooks
from api.http.single_flight_cache import AnswerCache
from api.http.store_connection import REQUEST_TIMEOUT_SECONDS, StoreConnection, StoreProvider
from api.openapi import docs_routes, register_openapi
from api.pages import page_routes
from api.security.auth import login_routes, register_auth
from api.security.sessions import Sessions
from api.security.tokens import KnownTokens, TokensFile
from api.server.health import health_routes
from api.server.metrics import build_version, register_metrics
from api.services.context import Context, wall_clock_ms
from api.services.count_maintenance import CountKeeper
from api.services.live_feed import LiveFeed
from api.services.scoring_service import ScoringService
from api.v1.alarms import alarm_routes
from api.v1.anomalies import anomaly_routes
from api.v1.anomaly_feedback import feedback_routes
from api.v1.anomaly_replay import replay_routes
from api.v1.counts import Counter, count_routes
from api.v1.drift import drift_routes
from api.v1.jobs import job_routes
from api.v1.legacy import legacy_routes
from api.v1.live import live_routes
from api.v1.predict import predict_routes
from api.v1.stations import station_routes
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
    answers = AnswerCache(settings.api_shared_seconds)
    context = Context(settings, store_provider or store_handle(settings), now_ms, answers=answers)
    app = APIFlask("api", title="stationwatch", version=build_version(), docs_path=None)
    register_request_hooks(app)
    register_metrics(app, context)
    known, sessions = known_tokens(context), Sessions(context.store.get)
    register_auth(app, known, sessions, settings.api_host)
    register_limits(app, settings.api_requests_per_minute)
    register_problems(app, context.store)
    register_openapi(app)
    app.extensions[LIVE_FEED] = live = LiveFeed(context)
    app.extensions[COUNT_KEEPER] = CountKeeper(context)
    counter, scoring = Counter(context), ScoringService(context)
    for routes in (
        health_routes(context),
        legacy_routes(context, counter, scoring),
        page_routes(context),
        live_routes(context, live),
        alarm_routes(context),
        anomaly_routes(context, scoring),
        count_routes(context, counter),
        docs_routes(),
        drift_routes(context),
        feedback_routes(context),
        job_routes(context),
        predict_routes(context, scoring),
        replay_routes(context, scoring),
        station_routes(context),
    ):
        app.register_blueprint(routes)
    if known is not None:
        app.register_blueprint(login_routes(known, sessions))
    return app


def known_tokens(context: Context) -> KnownTokens | None:
    """Whom this API believes, None where it asks for no tokens.

    Raises:
        SettingsError: the tokens file cannot be used.
    """
    path, in_store = context.settings.api_tokens_file, context.settings.api_tokens_in_store
    if path is None and not in_store:
        return None
    return KnownTokens(TokensFile(path) if path else None, context.store.get if in_store else None)


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
