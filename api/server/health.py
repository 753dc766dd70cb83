"""`/livez`: this process answers. `/readyz`: what it shows can be trusted."""

from __future__ import annotations

from typing import Any, NamedTuple

from apiflask import APIBlueprint
from flask import Response, jsonify, request

from api.http.problems import RETRY_AFTER_SECONDS, problem
from api.http.store_connection import STORE_AWAY
from api.http.times import rfc3339
from api.openapi import LIVE, READY, ok
from api.services.context import Context
from core.station_silence import is_stale
from storage.driver.session import Store
from storage.tables import artefacts, stream_progress


class Check(NamedTuple):
    """One condition of readiness."""

    name: str
    ok: bool
    detail: str


def health_routes(context: Context) -> APIBlueprint:
    """Liveness never touches the store."""
    routes = APIBlueprint("health", __name__, tag="Health")

    @routes.get("/livez")
    @routes.doc(summary="Is the process alive?", responses={200: ok("It is.", LIVE)}, security=[{}])
    def livez() -> Response:
        return jsonify({"status": "alive"})

    @routes.get("/readyz")
    @routes.doc(
        summary="Store, model and stream",
        description="200 when the store answers, a model is registered and the stream gives signs; else 503. "
        "`?verbose` lists the checks.",
        responses={200: ok("All checks hold.", READY)},
    )
    def readyz() -> Response:
        checks = check_all(context)
        shown: dict[str, Any] = {"checks": [check._asdict() for check in checks]} if "verbose" in request.args else {}
        failed = [check.name for check in checks if not check.ok]
        if not failed:
            return jsonify({"status": "ready", **shown})
        retry = {"Retry-After": str(RETRY_AFTER_SECONDS)}
        return problem(503, "not-ready", f"Not ready: {', '.join(failed)}.", retry, **shown)

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
