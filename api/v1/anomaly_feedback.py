"""`POST /api/v1/anomalies/{id}/feedback`: what a person says of an anomaly."""

from __future__ import annotations

from typing import Any

import msgspec
from apiflask import APIBlueprint
from flask import Response, g, jsonify

from api.http.body import declare_body, json_object, quote, refuse_body, refuse_strays
from api.http.idempotency import HEADER, claim_key
from api.openapi import ok
from api.representations.anomalies import COMMENT_CHARACTERS, Feedback, FeedbackGiven
from api.services.context import Context
from api.v1.anomalies import find_anomaly
from core.feedback import VERDICTS
from storage.tables.feedback import FeedbackRow, put_feedback


def feedback_routes(context: Context) -> APIBlueprint:
    """One route; what it stores is shown with the anomaly."""
    routes = APIBlueprint("feedback", __name__, url_prefix="/api/v1", tag="Anomalies")

    @routes.post("/anomalies/<anomaly_id>/feedback")
    @routes.doc(
        summary="Say what an anomaly was",
        description=f"The last word on an anomaly holds. With an `{HEADER}` a request that is sent again, because its "
        "answer was lost, changes nothing; the same key with another request is 409.",
        responses={201: ok("Stored.", Feedback)},
    )
    @declare_body(FeedbackGiven)
    def feedback(anomaly_id: str) -> tuple[Response, int]:
        document = json_object()
        verdict, comment = _parse_feedback(document)
        store = context.store.get()
        row = find_anomaly(store, anomaly_id)
        claim_key(store, msgspec.json.encode(document, order="sorted"))
        role = g.get("role")
        given = FeedbackRow(
            *row[:3], verdict, comment, context.now_ms(), role.name.lower() if role else None, row.model_version
        )
        put_feedback(store, given)
        context.answers.clear()
        return jsonify(Feedback.from_row(given)), 201

    return routes


def _parse_feedback(document: dict[str, Any]) -> tuple[str, str]:
    """Verdict and comment of a body.

    Raises:
        HTTPError: 422; the member is named.
    """
    refuse_strays(document, ["verdict", "comment"])
    verdict, comment = document.get("verdict"), document.get("comment", "")
    if verdict not in VERDICTS:
        expected = ", ".join(VERDICTS)
        given = "is missing" if "verdict" not in document else f"is {quote(verdict)}"
        raise refuse_body("verdict", "unknown_value", f"verdict {given}; expected one of {expected}")
    if not isinstance(comment, str) or len(comment) > COMMENT_CHARACTERS:
        said = f"comment is {quote(comment)}; expected text of at most {COMMENT_CHARACTERS} characters"
        raise refuse_body("comment", "wrong_type", said)
    return str(verdict), comment
