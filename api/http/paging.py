"""Page tokens: opaque, signed, and bound to the request that they go on with.

A token holds the interval as it was resolved for the first page, so that a walk ends where it was meant to end however
many rows arrive meanwhile, and the place behind the last row that was looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from itsdangerous import BadData, URLSafeSerializer

from api.http.problems import refuse
from storage.driver.session import Store
from storage.tables.api_tokens import shared_secret

_NAME = "page-tokens"


class Page(NamedTuple):
    """What a token says: where the walk stands, and its interval in ms since the epoch (0, 0 where there is none)."""

    place: list[Any]
    start_ms: int = 0
    end_ms: int = 0


class PageTokens:
    """Signs and reads the tokens of one address with the secret that all processes share."""

    def __init__(self, route: str) -> None:
        self._route = route
        self._signer: URLSafeSerializer | None = None

    def sign(self, store: Store, page: Page, query: Mapping[str, Any]) -> str:
        """The token that goes on with `query` at `page`."""
        return str(self._signer_of(store).dumps([*page, _filters_of(query)]))

    def read(self, store: Store, token: str, query: Mapping[str, Any]) -> Page:
        """What a token says.

        Raises:
            HTTPError: 400; changed, from another address, or given with other filters than it was made for.
        """
        try:
            signer = self._signer_of(store)
            place, start_ms, end_ms, filters = said = signer.loads(token)
            # Base64 has several spellings of the same signature; only the one that was given is ours.
            if signer.dumps(said) != token:
                raise BadData("another spelling")
        except (BadData, ValueError, TypeError):
            raise refuse(
                400, "bad-page-token", "page_token is not one that this address gave; begin without it."
            ) from None
        if filters != _filters_of(query):
            said = "page_token belongs to a request with other parameters; repeat those, or begin without it."
            raise refuse(400, "bad-page-token", said)
        return Page(place, start_ms, end_ms)

    def _signer_of(self, store: Store) -> URLSafeSerializer:
        if self._signer is None:
            self._signer = URLSafeSerializer(shared_secret(store, _NAME), salt=self._route)
        return self._signer


def _filters_of(query: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that must stay the same from page to page."""
    return {name: query[name] for name in sorted(query) if name not in ("page_token", "page_size")}
