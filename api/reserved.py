"""Addresses of the contract whose work comes with a later release: they answer 501, and the document says so."""

from __future__ import annotations

from collections.abc import Callable

from apiflask import APIBlueprint
from flask import Response

from api.problems import problem
from api.schemas import NOT_YET

RESERVED = (
    ("POST", "/jobs", "file_job", "File a job"),
    ("GET", "/jobs/<job_id>", "job", "One job"),
    ("GET", "/models", "models", "Model versions"),
    ("POST", "/models/<string:version>:promote", "promote", "File the promotion of a version"),
    ("POST", "/models/<string:version>:rollback", "rollback", "File the return to a version"),
)


def reserved_routes() -> APIBlueprint:
    """One view for each of them."""
    routes = APIBlueprint("reserved", __name__, url_prefix="/api/v1", tag="Later")
    for method, rule, name, summary in RESERVED:
        view = routes.doc(summary=summary, description=NOT_YET, responses={501: "Not yet."})(_view(name))
        routes.add_url_rule(rule, name, view, methods=[method])
    return routes


def not_yet() -> Response:
    """501 as a problem document."""
    return problem(501, "not-implemented", NOT_YET)


def _view(name: str) -> Callable[..., Response]:
    def view(**_: str) -> Response:
        return not_yet()

    view.__name__ = name
    return view
