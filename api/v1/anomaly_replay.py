"""`/api/v1/anomalies/{id}/replay`: the verdict computed again, from what was stored."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import Response, jsonify

from api.http.query import STRICT, StrictQuery
from api.openapi import ok
from api.representations.common import Model
from api.representations.predictions import Replayed, compared
from api.services.context import Context
from api.v1.anomalies import find_anomaly


def replay_routes(context: Context) -> APIBlueprint:
    """One route."""
    routes = APIBlueprint("replay", __name__, url_prefix="/api/v1", tag="Anomalies")

    @routes.get("/anomalies/<anomaly_id>/replay")
    @routes.input(StrictQuery, location="query", arg_name="query", unknown=STRICT)
    @routes.doc(
        summary="Compute a verdict again",
        description="From the stored block and the bytes of the model version that judged. 409 where one of them is "
        "no longer kept, or this release cannot read it.",
        responses={200: ok("Both verdicts, and whether they are equal.", Replayed)},
    )
    def replay(anomaly_id: str, query: dict[str, Any]) -> Response:
        store = context.store.get()
        row = find_anomaly(store, anomaly_id)
        again = context.scoring.replay(store, row)
        return jsonify(
            Replayed(
                id=anomaly_id,
                model=Model(context.settings.model_name, str(row.model_version)),
                stored=compared(row.score, row.severity, row.flags),
                recomputed=compared(again.score, again.severity, again.flags),
                equal=again.equals(row.score, row.flags),
            )
        )

    return routes
