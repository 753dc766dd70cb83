"""Who may ask: bearer tokens when there are any, this machine alone when there are none.

`/login`: people show their token once, and their browser keeps a session.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit

from apiflask import APIFlask
from flask import Blueprint, Response, g, make_response, redirect, render_template, request

from api.http.constants import FORM_POLICY
from api.http.limits import BAD_TOKENS_A_MINUTE, Rate
from api.http.problems import refuse
from api.security.sessions import Sessions
from api.security.tokens import KnownTokens, Role, hashed, known_tokens
from core.settings import LOOPBACK, PREFIX, Settings
from storage.driver.session import Store

_TOKEN_CHARACTERS = 512
# A path of this site: no second slash or backslash, which browsers take for another site.
_HERE = re.compile(r"/(?![/\\])[\x21-\x7e]*", re.ASCII)
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
PUBLIC_ENDPOINTS = frozenset({"health.livez", "login.form", "login.enter", "login.leave"})
LOGIN_FILES = frozenset({"/static/base.css", "/static/login.css", "/static/icon.svg"})

REQUIRED = {
    "predict.predict": Role.VIEWER,
    "legacy.legacy_predict": Role.VIEWER,
    "legacy.check_drift_retrain": Role.DATA_SCIENTIST,
    "jobs.file": Role.DATA_SCIENTIST,
    "jobs.promote": Role.DATA_SCIENTIST,
    "jobs.rollback": Role.DATA_SCIENTIST,
}
"""Endpoint → role of its unsafe methods, where it is not the rule: an operator changes, a viewer reads."""


def role_needed(endpoint: str, method: str) -> Role:
    """The least role that may call this endpoint. What nobody thought of is not open."""
    return Role.VIEWER if method in SAFE_METHODS else REQUIRED.get(endpoint, Role.OPERATOR)


def register_auth(app: APIFlask, settings: Settings, store: Callable[[], Store]) -> None:
    """Find out who asks, and whether they may.

    A loopback API without tokens trusts whoever reaches it. A web page that resolves its own name to 127.0.0.1 reaches
    it through the user's browser, but not under the name localhost.

    Args:
        app: the application.
        settings: where the tokens are, if there are any, and the address of the server.
        store: the way to Cassandra.

    Raises:
        SettingsError: the tokens file cannot be used.
    """
    app.before_request(_refuse_foreign_pages)
    known, sessions = known_tokens(settings, store), Sessions(store)
    if known is None:
        app.before_request(lambda: _trust_this_machine(settings.api_host))
        return
    app.register_blueprint(login_routes(known, sessions))
    bad_tokens = Rate(BAD_TOKENS_A_MINUTE, "tokens that are not known")

    @app.before_request
    def authorise() -> Response | None:
        g.caller, g.role = str(request.remote_addr), None
        if _is_public():
            return None
        presented = _bearer()
        digest = hashed(presented) if presented else sessions.digest(request.cookies)
        role = known.role_of(digest) if digest else None
        if role is None:
            if digest:
                bad_tokens.count(g.caller)
            return _challenge(bool(digest))
        g.caller, g.role, g.session = digest, role, presented is None
        wanted = role_needed(request.endpoint or "", request.method)
        if role < wanted:
            challenge = {"WWW-Authenticate": 'Bearer realm="stationwatch", error="insufficient_scope"'}
            raise refuse(403, "forbidden", f"This needs the role {wanted.name.lower()}.", challenge)
        return None


def _is_public() -> bool:
    return request.endpoint in PUBLIC_ENDPOINTS or request.path in LOGIN_FILES


def _is_page() -> bool:
    """Whether a browser asks for something to show."""
    return (
        request.method == "GET"
        and (request.endpoint or "").startswith("pages.")
        and "text/html" in str(request.headers.get("Accept", ""))
    )


def _challenge(presented: bool) -> Response:
    if _is_page():
        response: Any = redirect(f"/login?next={quote(request.full_path.rstrip('?'))}", 303)
        return response
    given = ', error="invalid_token"' if presented else ""
    challenge = {"WWW-Authenticate": f'Bearer realm="stationwatch"{given}'}
    raise refuse(401, "unauthorised", "Send a valid token as `Authorization: Bearer <token>`.", challenge)


def _trust_this_machine(api_host: str) -> None:
    g.caller, g.role = str(request.remote_addr), Role.ADMIN
    if api_host not in LOOPBACK:
        return
    # Not Flask's TRUSTED_HOSTS: it takes [::1] for the host "[" with a port.
    try:
        name = urlsplit(f"//{request.headers.get('Host', 'localhost')}").hostname
    except ValueError:
        name = None
    if name not in LOOPBACK:
        raise refuse(
            400,
            "unknown-host",
            "This API listens on this machine only and answers to localhost, 127.0.0.1 and [::1]; "
            f"to serve other names, give it tokens ({PREFIX}API_TOKENS_FILE).",
        )


def _refuse_foreign_pages() -> None:
    """A page of another site may send forms here through a user's browser, with cookies or from this very machine."""
    if request.method in SAFE_METHODS or request.headers.get("Authorization"):
        return
    origin = request.headers.get("Origin")
    fetched = request.headers.get("Sec-Fetch-Site", "none" if origin is None else "same-origin")
    foreign = origin is not None and urlsplit(origin).netloc != request.host
    if foreign or fetched not in ("same-origin", "none"):
        raise refuse(403, "foreign-origin", "A page of another site may change nothing here.")


def _bearer() -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and 0 < len(token) <= _TOKEN_CHARACTERS else None


def login_routes(known: KnownTokens, sessions: Sessions) -> Blueprint:
    """The form, what it sends, and the way out."""
    routes = Blueprint("login", __name__)
    bad_tokens = Rate(BAD_TOKENS_A_MINUTE, "tokens that are not known")

    @routes.get("/login")
    def form() -> Response:
        return _login_page("", request.args.get("next", "/"), 200)

    @routes.post("/login")
    def enter() -> Response:
        bad_tokens.check(g.caller)
        token, wanted = request.form.get("token", "").strip(), request.form.get("next", "/")
        digest = hashed(token)
        if not token or known.role_of(digest) is None:
            bad_tokens.count(g.caller)
            return _login_page("This token is not known. Ask whoever runs stationwatch for one.", wanted, 401)
        response = make_response(redirect(_path(wanted), 303))
        sessions.begin(response, digest)
        return response

    @routes.post("/logout")
    def leave() -> Response:
        response = make_response(redirect("/login", 303))
        sessions.end(response)
        return response

    return routes


def _login_page(problem: str, wanted: str, status: int) -> Response:
    response = make_response(render_template("login.html", problem=problem, next=_path(wanted)), status)
    response.headers["Content-Security-Policy"] = FORM_POLICY
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="stationwatch", error="invalid_token"'
    return response


def _path(wanted: str) -> str:
    """Where to go on: only a path of this site."""
    return wanted if _HERE.fullmatch(wanted) else "/"
