"""`/livez`: this process answers. `/readyz`: what it shows can be trusted."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import Response, jsonify, request
from msgspec import UNSET

from api.http.problems import RETRY_AFTER_SECONDS, problem
from api.http.store_connection import STORE_AWAY
from api.http.times import rfc3339
from api.openapi import ok
from api.representations.health import Alive, Check, Ready
from api.services.context import Context
from core.station_silence import is_stale
from storage.driver.session import Store
from storage.tables import artefacts, stream_progress


def health_routes(context: Context) -> APIBlueprint:
    """Liveness never touches the store."""
    routes = APIBlueprint("health", __name__, tag="Health")

    @routes.get("/livez")
    @routes.doc(summary="Is the process alive?", responses={200: ok("It is.", Alive)}, security=[{}])
    def livez() -> Response:
        return jsonify(Alive())

    @routes.get("/readyz")
    @routes.doc(
        summary="Store, model and stream",
        description="200 when the store answers, a model is registered and the stream gives signs; else 503. "
        "`?verbose` lists the checks.",
        responses={200: ok("All checks hold.", Ready)},
    )
    def readyz() -> Response:
        checks = check_all(context)
        verbose = "verbose" in request.args
        failed = [check.name for check in checks if not check.ok]
        if not failed:
            return jsonify(Ready(checks=checks if verbose else UNSET))
        retry = {"Retry-After": str(RETRY_AFTER_SECONDS)}
        members = {"checks": checks} if verbose else {}
        return problem(503, "not-ready", f"Not ready: {', '.join(failed)}.", retry, **members)

    return routes


def check_all(context: Context) -> list[Check]:
    """Every check, in the order of what depends on what."""
    try:
        store = context.store.get()
        return [Check("store", True, "Cassandra answers"), _model(context, store), _stream(context, store)]
    except STORE_AWAY as error:
        context.store.mark_suspect(error)
        unknown = "unknown while the store is away"
        return [
            Check("store", False, "Cassandra does not answer, or lacks the tables (python -m storage schema)"),
            Check("model", False, unknown),
            Check("stream", False, unknown),
        ]


def _model(context: Context, store: Store) -> Check:
    name = context.settings.model_name
    registered = artefacts.versions(store, name)
    if not registered:
        return Check("model", False, f"no version of {name} is registered; train one: python -m models.train")
    return Check("model", True, f"{name} has versions up to {registered[-1].version}")


def _stream(context: Context, store: Store) -> Check:
    sign = stream_progress.progress(store, context.settings.readings_topic).heartbeat_ms
    if sign is None:
        return Check("stream", False, "the stream has never given a sign")
    detail = f"last sign {rfc3339(sign)}"
    return Check("stream", not is_stale(sign, context.now_ms(), context.settings.api_stale_seconds), detail)
