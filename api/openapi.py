"""The OpenAPI document, what the routes do not say themselves, and `/docs`, where it can be read and tried."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from apiflask import APIFlask
from flask import Blueprint, Response, make_response, render_template

from api.http.constants import PROBLEM_MIMETYPE, SECURITY_HEADERS
from api.representations.alarms import ALARM_COMPONENTS
from api.representations.common import COMPONENTS, NULLABLE_NUMBER
from api.representations.drift import DRIFT_COMPONENTS
from api.representations.jobs import LIFE_COMPONENTS
from api.security.auth import PUBLIC_ENDPOINTS, role_needed
from core.sensors import Sensor

PROBLEM = {
    "type": "object",
    "description": "RFC 9457 problem document.",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string", "format": "uri", "examples": ["urn:stationwatch:problem:invalid-parameter"]},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "instance": {"type": "string", "description": "the request's id, as in X-Request-Id and in the log"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "code", "detail"],
                "properties": {
                    "pointer": {"type": "string", "examples": ["/query/limit"]},
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                },
            },
        },
        "checks": {"$ref": "#/components/schemas/Checks"},
    },
}
_POLICY = "Content-Security-Policy"
_CONVERTER = re.compile(r"<(?:[a-z]+:)?([a-z_]+)>")
CHECKS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["name", "ok", "detail"],
        "properties": {"name": {"type": "string"}, "ok": {"type": "boolean"}, "detail": {"type": "string"}},
    },
}
ANOMALY_COUNT = {
    "type": "object",
    "required": ["time_range", "outliers_count"],
    "properties": {
        "time_range": {"type": "string", "examples": ["1h"]},
        "outliers_count": {"type": "integer", "minimum": 0},
    },
    "additionalProperties": False,
}
READY = {
    "type": "object",
    "required": ["status"],
    "properties": {"status": {"const": "ready"}, "checks": {"$ref": "#/components/schemas/Checks"}},
}
LIVE = {"type": "object", "required": ["status"], "properties": {"status": {"const": "alive"}}}


def ok(description: str, schema: dict[str, Any], mimetype: str = "application/json") -> Any:
    """A response object."""
    return {"description": description, "content": {mimetype: {"schema": schema}}}


def also(response: Any, contents: dict[str, Any]) -> Any:
    """A response object that has further media types."""
    return {**response, "content": {**response["content"], **{kind: {"schema": one} for kind, one in contents.items()}}}


def latest_anomalies_schema(sensors: tuple[Sensor, ...]) -> dict[str, Any]:
    """JSON schema of `/api/latest_anomalies` for this catalogue."""
    fields: dict[str, Any] = {sensor.name: NULLABLE_NUMBER for sensor in sensors if sensor.name != "noise"}
    fields |= {
        "station_id": {"type": "string"},
        "record_time": {"type": "string", "format": "date-time"},
        "humidity": NULLABLE_NUMBER,
        "noise_level": NULLABLE_NUMBER,
        "temperature": NULLABLE_NUMBER,
        "is_outlier": {"const": True},
        "mlflow_id": {"type": ["string", "null"]},
    }
    anomaly = {"type": "object", "required": list(fields), "properties": fields, "additionalProperties": False}
    return {"type": "array", "maxItems": 1000, "items": anomaly}


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
        schemas = {"Problem": PROBLEM, "Checks": CHECKS, **COMPONENTS}
        schemas |= DRIFT_COMPONENTS | ALARM_COMPONENTS | LIFE_COMPONENTS
        spec["components"].setdefault("schemas", {}).update(schemas)
        spec["security"] = [{"bearer": []}, {}]
        problem = ok("A problem document.", {"$ref": "#/components/schemas/Problem"}, PROBLEM_MIMETYPE)
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
    """Yield path template, method and schema of each view that takes a body; see `api.http.body.takes`."""
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
