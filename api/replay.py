"""`/api/v1/anomalies/{id}/replay`: the verdict computed again, from what was stored."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import Response, jsonify

from api.anomalies import found
from api.context import Context
from api.judging import Judge
from api.openapi import ok
from api.problems import refuse
from api.query import STRICT, StrictQuery
from api.schemas import ref
from api.shapes import judged_shown, verdict_of
from models.detection.errors import ArtefactRefused, NotFound

SCORE_TOLERANCE = 1e-6
_COMPARED = ("is_anomaly", "score", "severity", "severity_class", "state", "rules")


def replay_routes(context: Context, judge: Judge) -> APIBlueprint:
    """One route."""
    routes = APIBlueprint("replay", __name__, url_prefix="/api/v1", tag="Anomalies")

    @routes.get("/anomalies/<anomaly_id>/replay")
    @routes.input(StrictQuery, location="query", arg_name="query", unknown=STRICT)
    @routes.doc(
        summary="Compute a verdict again",
        description="From the stored block and the bytes of the model version that judged. 409 where one of them is "
        "no longer kept, or this release cannot read it.",
        responses={200: ok("Both verdicts, and whether they are equal.", ref("Replayed"))},
    )
    def replay(anomaly_id: str, query: dict[str, Any]) -> Response:
        store = context.store.get()
        row = found(store, anomaly_id)
        try:
            version = judge.version(store, row.model_version)
            again = judge.judge_block(version, row.block or b"")
        except (NotFound, ArtefactRefused) as error:
            said = (
                f"Model version {row.model_version}, or this anomaly's block, is not kept in a form this release reads."
            )
            raise refuse(409, "not-replayable", said) from error
        stored = judged_shown(row.score, row.severity, row.flags, verdict_of(row))
        recomputed = {name: again[name] for name in _COMPARED}
        return jsonify(
            {
                "id": anomaly_id,
                "model": {"name": context.settings.model_name, "version": str(row.model_version)},
                "stored": {name: stored[name] for name in _COMPARED},
                "recomputed": recomputed,
                "equal": _equal(stored, recomputed),
            }
        )

    return routes


def _equal(stored: dict[str, Any], recomputed: dict[str, Any]) -> bool:
    same = all(stored[name] == recomputed[name] for name in ("is_anomaly", "state", "rules"))
    return same and abs(stored["score"] - recomputed["score"]) <= SCORE_TOLERANCE
