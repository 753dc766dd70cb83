"""The OpenAPI document, what the routes do not say themselves, and `/docs`, where it can be read and tried."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from apiflask import APIFlask
from flask import Blueprint, Response, make_response, render_template
from msgspec import Struct

from api.http.constants import PROBLEM_MIMETYPE, SECURITY_HEADERS
from api.representations.common import Schema, schema_of, schemas_of
from api.representations.health import Problem
from api.security.auth import PUBLIC_ENDPOINTS, role_needed

_POLICY = "Content-Security-Policy"
_CONVERTER = re.compile(r"<(?:[a-z]+:)?([a-z_]+)>")


def ok(
    description: str,
    schema: Schema | type[Struct],
    mimetype: str = "application/json",
    also: Mapping[str, Schema | type[Struct]] | None = None,
) -> Any:
    """A response object.

    Args:
        description: in a sentence.
        schema: of the answer, or the answer itself.
        mimetype: of the answer.
        also: further media types and their schemas.
    """
    contents = {mimetype: schema, **(also or {})}
    return {"description": description, "content": {kind: {"schema": schema_of(one)} for kind, one in contents.items()}}


def register_openapi(app: APIFlask) -> None:
    """Describe errors and tokens once for all routes of `app`."""
    app.config.update(
        AUTO_VALIDATION_ERROR_RESPONSE=False,
        AUTO_404_RESPONSE=False,
        AUTO_AUTH_ERROR_RESPONSE=False,
        AUTO_SERVERS=False,
        AUTO_OPERATION_ID=True,
    )
    app.description = (
        "Readings of factory stations judged as they come. Times are RFC 3339 in UTC with milliseconds; numbers are "
        "finite, unknown is null. Parameters are strict: an unknown or a repeated one is 422. Every error is a problem "
        "document."
    )
    app.config["SECURITY_SCHEMES"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "needed when the API was given tokens"}
    }

    @app.spec_processor  # type: ignore[arg-type]
    def complete(spec: dict[str, Any]) -> dict[str, Any]:
        problem = ok("A problem document.", Problem, PROBLEM_MIMETYPE)
        spec["components"].setdefault("schemas", {}).update(schemas_of())
        spec["security"] = [{"bearer": []}, {}]
        for path in spec["paths"].values():
            for operation in path.values():
                operation["responses"].setdefault("default", problem)
        for path, method, role in _roles(app, spec["paths"]):
            spec["paths"][path][method]["x-required-role"] = role
        for path, method, schema in _bodies(app):
            content = {"application/json": {"schema": schema}}
            spec["paths"][path][method]["requestBody"] = {"required": True, "content": content}
        return spec


def _roles(app: APIFlask, paths: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield path template, method and the least role it takes, of each documented operation that asks for one."""
    for rule in app.url_map.iter_rules():
        path = _CONVERTER.sub(r"{\1}", rule.rule)
        for method in paths.get(path, {}):
            if method.upper() in (rule.methods or ()) and rule.endpoint not in PUBLIC_ENDPOINTS:
                yield path, method, role_needed(rule.endpoint, method.upper()).name.lower()


def _bodies(app: APIFlask) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield path template, method and schema of each view that takes a body; see `api.http.body.declare_body`."""
    for rule in app.url_map.iter_rules():
        schema = getattr(app.view_functions[rule.endpoint], "request_body", None)
        if schema is not None:
            path = _CONVERTER.sub(r"{\1}", rule.rule)
            yield path, next(method.lower() for method in rule.methods or () if method == "POST"), schema


def docs_routes() -> Blueprint:
    """The page; its scripts and styles are vendored files."""
    routes = Blueprint("docs", __name__, template_folder="templates")

    @routes.get("/docs")
    def docs() -> Response:
        response = make_response(render_template("docs.html"))
        # Swagger UI's stylesheet holds its icons as data: images.
        response.headers[_POLICY] = SECURITY_HEADERS[_POLICY].replace("img-src 'self'", "img-src 'self' data:")
        return response

    return routes
