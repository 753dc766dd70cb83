"""`/docs`: the OpenAPI document to read and try, without any other server."""

from __future__ import annotations

from flask import Blueprint, Response, make_response, render_template

from api.http.constants import SECURITY_HEADERS

_POLICY = "Content-Security-Policy"


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
