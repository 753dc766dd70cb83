"""Every error as a problem document (RFC 9457), and never the text of an exception."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from apiflask import APIFlask, HTTPError
from flask import Response, current_app, g
from werkzeug.datastructures import Headers

from api.http.constants import PROBLEM_MIMETYPE, PROBLEM_TYPE_PREFIX
from api.http.store_connection import StoreProvider
from api.representations.health import Problem
from core.errors import NotFound, Retryable, StationwatchError
from storage.driver.retry import SchemaMissing

RETRY_AFTER_SECONDS = 2

_DETAILS = {
    400: "The request is malformed.",
    404: "Nothing is at this address.",
    405: "This address does not take this method; the Allow header names those it takes.",
    413: "The request body is larger than 1 MiB.",
    414: "The address is longer than this API takes.",
    415: "The request body is of a type this address does not take.",
    429: "Too many requests; try again after the seconds in Retry-After.",
    500: "Something went wrong in this API. Its log has the cause beside this request's id.",
    503: "Cassandra does not answer. The request can be repeated after the seconds in Retry-After.",
}

_ERRORS_SAID = 3


def problem(
    status: int,
    kind: str | None = None,
    detail: str | None = None,
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> Response:
    """Make a problem document.

    Args:
        status: HTTP status.
        kind: last part of `type`; the status' own phrase unless given.
        detail: one sentence for people; never an exception's text.
        headers: further response headers.
        members: extension members, such as `errors`.
    """
    phrase = HTTPStatus(status).phrase
    document = Problem(
        type=PROBLEM_TYPE_PREFIX + (kind or phrase.lower().replace(" ", "-")),
        title=phrase,
        status=status,
        detail=detail or _DETAILS.get(status, phrase + "."),
        instance=g.get("request_id", ""),
    )
    body = current_app.json.dumps(msgspec.to_builtins(document) | members)
    return current_app.response_class(body, status=status, headers=dict(headers or {}), mimetype=PROBLEM_MIMETYPE)


def refuse(status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None, **members: Any) -> HTTPError:
    """The exception that ends a request with this problem; to be raised."""
    return HTTPError(status, detail=detail, headers=dict(headers or {}), extra_data={"kind": kind, **members})


def refuse_parameter(name: str, code: str, detail: str) -> HTTPError:
    """The exception that ends a request with 422 for one query parameter; to be raised."""
    return refuse_value(f"/query/{escape_pointer(name)}", code, detail)


def refuse_value(pointer: str, code: str, detail: str) -> HTTPError:
    """The exception that ends a request with 422 for the value at a JSON pointer; to be raised."""
    return refuse(422, "invalid-parameter", detail, errors=[{"pointer": pointer, "code": code, "detail": detail}])


def register_problems(app: APIFlask, store: StoreProvider) -> None:
    """Let every error of `app` leave as a problem document; a store that failed a request is checked again at once."""

    @app.error_processor
    def http_error(error: HTTPError) -> Response:
        members = dict(error.extra_data)
        kind = members.pop("kind", None)
        if error.status_code == 422 and isinstance(error.detail, dict):
            errors = list(_field_errors(error.detail))
            said = "; ".join(found["detail"] for found in errors[:_ERRORS_SAID])
            return problem(422, "invalid-parameter", said, errors=errors)
        detail = error.detail if isinstance(error.detail, str) else None
        return problem(error.status_code, kind, detail, dict(Headers(error.headers)), **members)

    @app.errorhandler(NotFound)
    def not_found(error: NotFound) -> Response:
        return problem(404)

    @app.errorhandler(Retryable)
    @app.errorhandler(SchemaMissing)
    def store_away(error: StationwatchError) -> Response:
        store.mark_suspect(error)
        return problem(503, "store-unavailable", headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def _field_errors(detail: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Flatten marshmallow's location → field → messages; messages made by `api.http.query` carry a code."""
    for location, fields in detail.items():
        for field, messages in fields.items():
            for message in messages:
                known = message if isinstance(message, dict) else {"code": "invalid", "detail": str(message)}
                yield {"pointer": f"/{location}/{escape_pointer(str(field))}", **known}


def escape_pointer(field: str) -> str:
    """A JSON pointer's token (RFC 6901)."""
    return field.replace("~", "~0").replace("/", "~1")
