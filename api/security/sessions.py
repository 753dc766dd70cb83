"""Sessions of people: a signed cookie that holds the hash of the token they logged in with, never the token."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flask import Response, request
from itsdangerous import BadData, URLSafeTimedSerializer

from storage.driver.session import Store
from storage.tables.api_tokens import shared_secret

COOKIE = "stationwatch_session"
SESSION_SECONDS = 12 * 3600
_CHARACTERS = 1024


class Sessions:
    """Signs and reads the cookie. The secret lies in Cassandra, so that every process knows it.

    Args:
        store: the way to it.
    """

    def __init__(self, store: Callable[[], Store]) -> None:
        self._store = store
        self._signer: URLSafeTimedSerializer | None = None

    def begin(self, response: Response, sha256: str) -> None:
        """Let the browser come back as the holder of the token with this hash.

        Raises:
            StoreUnavailable: the secret is not known yet, and Cassandra is away.
        """
        response.set_cookie(
            COOKIE,
            self._signing().dumps(sha256),
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="Strict",
            secure=request.is_secure,
        )

    def end(self, response: Response) -> None:
        """Let the browser forget."""
        response.delete_cookie(COOKIE, httponly=True, samesite="Strict", secure=request.is_secure)

    def digest(self, cookies: Mapping[str, str]) -> str | None:
        """The hash of the token that a cookie stands for; None without one, or with a forged or an old one."""
        cookie = cookies.get(COOKIE, "")
        if not 0 < len(cookie) <= _CHARACTERS:
            return None
        try:
            return str(self._signing().loads(cookie, max_age=SESSION_SECONDS))
        except BadData:
            return None

    def _signing(self) -> URLSafeTimedSerializer:
        if self._signer is None:
            self._signer = URLSafeTimedSerializer(shared_secret(self._store(), "sessions"), salt="session")
        return self._signer
