"""The application: every module of routes, put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from apiflask import APIFlask

from api.docs import docs_routes
from api.http.json_format import MsgspecJson
from api.http.limits import check_time, register_limits
from api.http.opaque_ids import OpaqueConverter
from api.http.problems import register_problems
from api.http.request_hooks import register_exchange
from api.http.single_flight_cache import SharedAnswers
from api.http.store_connection import REQUEST_TIMEOUT_SECONDS, StoreHandle, StoreProvider
from api.openapi import register_openapi
from api.pages import page_routes
from api.security.auth import register_auth
from api.security.login import login_routes
from api.security.sessions import Sessions
from api.security.tokens import KnownTokens, TokensFile
from api.server.health import health_routes
from api.server.metrics import register_metrics
from api.services.context import Context, wall_clock_ms
from api.services.count_maintenance import CountKeeper
from api.services.live_feed import LiveFeed
from api.services.scoring_service import Judge
from api.v1.alarms import alarm_routes
from api.v1.anomalies import anomaly_routes
from api.v1.counts import Counter, count_routes
from api.v1.drift import drift_routes
from api.v1.feedback import feedback_routes
from api.v1.jobs import job_routes
from api.v1.legacy import legacy_routes
from api.v1.live import live_routes
from api.v1.predict import predict_routes
from api.v1.replay import replay_routes
from api.v1.stations import station_routes
from core.release import release
from core.settings import Settings
from storage.driver.session import Store, StoreConfig, connect
from storage.tables import (
    alarm_actions,
    alarms,
    anomalies,
    anomaly_counts,
    anomaly_feed,
    anomaly_scan,
    api_tokens,
    artefacts,
    drift_reports,
    feedback,
    jobs,
    minutes,
    model_events,
    readings,
    recounting,
    secrets,
    stations,
    stream_progress,
)

LIVE_FEED = "stationwatch-live-feed"
COUNT_KEEPER = "stationwatch-count-keeper"

WARMED_UP = (
    *anomaly_scan.STATEMENTS,
    anomaly_counts.SELECT_COUNTED,
    *anomaly_counts.SELECT_MINUTES.values(),
    recounting.SELECT,
    readings.SELECT_FROM,
    minutes.SELECT,
    stations.SELECT_AFTER,
    stations.SELECT_ONE,
    feedback.SELECT_BETWEEN,
    anomalies.SELECT_ONE,
    secrets.SELECT,
    api_tokens.SELECT,
    alarms.SELECT_ONE,
    alarms.SELECT_DAY,
    alarms.SELECT_OPEN,
    alarms.SELECT_STATION,
    alarm_actions.SELECT_BETWEEN,
    alarm_actions.INSERT,
    alarm_actions.SELECT_ONE,
    drift_reports.SELECT_SUMMARIES,
    drift_reports.SELECT_REPORT,
    anomaly_feed.SELECT_FEED_HOURS,
    jobs.SELECT_RECENT,
    jobs.SELECT_ONE,
    model_events.SELECT_EVENTS,
    model_events.SELECT_CARDS,
    model_events.SELECT_ALIASES,
    anomalies.SELECT_FEED,
)


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
    answers = SharedAnswers(settings.api_shared_seconds)
    context = Context(settings, store_provider or store_handle(settings), now_ms, answers=answers)
    app = APIFlask("api", title="stationwatch", version=release(), docs_path=None)
    app.json = MsgspecJson(app)
    app.url_map.converters["opaque"] = OpaqueConverter
    register_exchange(app)
    register_metrics(app, context)
    known, sessions = known_tokens(context), Sessions(context.store.get)
    register_auth(app, known, sessions, settings.api_host)
    register_limits(app, settings.api_requests_per_minute)
    register_problems(app, context.store)
    register_openapi(app)
    app.extensions[LIVE_FEED] = live = LiveFeed(context)
    app.extensions[COUNT_KEEPER] = CountKeeper(context)
    counter, judge = Counter(context), Judge(context)
    for routes in (
        health_routes(context),
        legacy_routes(context, counter, judge),
        page_routes(context),
        live_routes(context, live),
        alarm_routes(context),
        anomaly_routes(context, judge),
        count_routes(context, counter),
        docs_routes(),
        drift_routes(context),
        feedback_routes(context),
        job_routes(context),
        predict_routes(context, judge),
        replay_routes(context, judge),
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


def store_handle(settings: Settings) -> StoreHandle:
    """The API's store: short timeouts, connected in the background, warmed up with what the routes ask."""
    config = replace(StoreConfig.from_settings(settings), request_timeout_seconds=REQUEST_TIMEOUT_SECONDS)

    def warm_up(store: Store) -> None:
        # Named, because without rows nothing asks for them.
        for statement in WARMED_UP:
            store.prepared(statement)
        anomaly_scan.latest(store, 1, wall_clock_ms())
        artefacts.versions(store, settings.model_name)
        stations.stations(store)

    return StoreHandle(
        connect=lambda: connect(config, deadline_seconds=0.0),
        warm_up=warm_up,
        probe=lambda store: stream_progress.progress(store, settings.readings_topic),
        check=check_time,
    )
