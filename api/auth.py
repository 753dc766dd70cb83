"""Who may ask: bearer tokens when there are any, this machine alone when there are none."""

from __future__ import annotations

from urllib.parse import urlsplit

from apiflask import APIFlask
from flask import g, request

from api.problems import refuse
from api.tokens import Role, Token, role_of
from settings import LOOPBACK, PREFIX

_TOKEN_CHARACTERS = 512
PUBLIC_ENDPOINTS = frozenset({"health.livez"})

REQUIRED: dict[str, Role] = {}
"""Endpoint → role, for those that want more than a viewer."""


def register_auth(app: APIFlask, tokens: list[Token], api_host: str) -> None:
    """Ask for tokens when there are any; else answer to this machine's own names only.

    A loopback API without tokens trusts whoever reaches it. A web page that resolves its own name to 127.0.0.1 reaches
    it through the user's browser, but not under the name localhost.
    """
    if not tokens:
        if api_host in LOOPBACK:
            app.before_request(_refuse_foreign_names)
        return

    @app.before_request
    def authorise() -> None:
        if request.endpoint in PUBLIC_ENDPOINTS:
            return
        presented = _bearer()
        role = role_of(tokens, presented) if presented else None
        if role is None:
            given = ', error="invalid_token"' if presented else ""
            challenge = {"WWW-Authenticate": f'Bearer realm="stationwatch"{given}'}
            raise refuse(401, "unauthorised", "Send a valid token as `Authorization: Bearer <token>`.", challenge)
        wanted = REQUIRED.get(request.endpoint or "", Role.VIEWER)
        if role < wanted:
            challenge = {"WWW-Authenticate": 'Bearer realm="stationwatch", error="insufficient_scope"'}
            raise refuse(403, "forbidden", f"This needs the role {wanted.name.lower()}.", challenge)
        g.role = role


def _refuse_foreign_names() -> None:
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


def _bearer() -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and 0 < len(token) <= _TOKEN_CHARACTERS else None
