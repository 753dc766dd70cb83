"""`/api/v1/anomalies/{id}/replay`: the verdict computed again, from what was stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from apiflask import APIBlueprint
from flask import Response, jsonify

from api.http.problems import refuse
from api.http.query import STRICT, StrictQuery
from api.openapi import ok
from api.representations.anomalies import Said, judged_shown
from api.representations.common import ref
from api.services.context import Context
from api.services.scoring_service import Judge, Version
from api.v1.anomalies import found
from core.errors import ArtefactRefused, NotFound
from core.sensors import Sensor

if TYPE_CHECKING:
    from models.explanation.replay import Replayed

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
            again = _again(version, row.block or b"", judge.sensors)
        except (NotFound, ArtefactRefused) as error:
            said = (
                f"Model version {row.model_version}, or this anomaly's block, is not kept in a form this release reads."
            )
            raise refuse(409, "not-replayable", said) from error
        return jsonify(
            {
                "id": anomaly_id,
                "model": {"name": context.settings.model_name, "version": str(row.model_version)},
                "stored": _compared(row.score, row.severity, row.flags),
                "recomputed": _compared(again.score, again.severity, again.flags),
                "equal": again.equals(row.score, row.flags),
            }
        )

    return routes


def _compared(score: float, severity: float, flags: int) -> dict[str, Any]:
    shown = judged_shown(score, severity, flags, Said())
    return {name: shown[name] for name in _COMPARED}


def _again(version: Version, block: bytes, sensors: Sequence[Sensor]) -> Replayed:
    from models.explanation.replay import replay

    return replay(version.detector, block, sensors)
