"""`/login`: people show their token once, and their browser keeps a session."""

from __future__ import annotations

import re

from flask import Blueprint, Response, g, make_response, redirect, render_template, request

from api.http.constants import FORM_POLICY
from api.http.limits import BAD_TOKENS_A_MINUTE, Rate
from api.security.sessions import Sessions
from api.security.tokens import KnownTokens, hashed

# A path of this site: no second slash or backslash, which browsers take for another site.
_HERE = re.compile(r"/(?![/\\])[\x21-\x7e]*", re.ASCII)


def login_routes(known: KnownTokens, sessions: Sessions) -> Blueprint:
    """The form, what it sends, and the way out."""
    routes = Blueprint("login", __name__)
    bad_tokens = Rate(BAD_TOKENS_A_MINUTE, "tokens that are not known")

    @routes.get("/login")
    def form() -> Response:
        return _page("", request.args.get("next", "/"), 200)

    @routes.post("/login")
    def enter() -> Response:
        bad_tokens.check(g.caller)
        token, wanted = request.form.get("token", "").strip(), request.form.get("next", "/")
        digest = hashed(token)
        if not token or known.role_of(digest) is None:
            bad_tokens.count(g.caller)
            return _page("This token is not known. Ask whoever runs stationwatch for one.", wanted, 401)
        response = make_response(redirect(_path(wanted), 303))
        sessions.begin(response, digest)
        return response

    @routes.post("/logout")
    def leave() -> Response:
        response = make_response(redirect("/login", 303))
        sessions.end(response)
        return response

    return routes


def _page(problem: str, wanted: str, status: int) -> Response:
    response = make_response(render_template("login.html", problem=problem, next=_path(wanted)), status)
    response.headers["Content-Security-Policy"] = FORM_POLICY
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="stationwatch", error="invalid_token"'
    return response


def _path(wanted: str) -> str:
    """Where to go on: only a path of this site."""
    return wanted if _HERE.fullmatch(wanted) else "/"
