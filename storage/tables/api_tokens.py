"""Table `api_tokens`: who may ask the API, by the hash of what they present."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from storage.driver.session import Store

INSERT = "INSERT INTO api_tokens (sha256, role, name, created_time) VALUES (?, ?, ?, ?)"
SELECT = "SELECT sha256, role, name, toUnixTimestamp(created_time) FROM api_tokens WHERE sha256 = ?"
SELECT_ALL = "SELECT sha256, role, name, toUnixTimestamp(created_time) FROM api_tokens"
DELETE = "DELETE FROM api_tokens WHERE sha256 = ?"


class TokenRow(NamedTuple):
    """A token at rest: hex sha256 of its UTF-8 bytes, its role's name, whose it is, ms since the epoch."""

    sha256: str
    role: str
    name: str
    created_ms: int


def put_token(store: Store, row: TokenRow) -> None:
    """Let the token be known.

    Raises:
        StoreUnavailable: Cassandra is away.
    """
    store.one(INSERT, row)


def token(store: Store, sha256: str) -> TokenRow | None:
    """The token with this hash, or None."""
    row = store.one(SELECT, (sha256,))
    return None if row is None else TokenRow._make(row)


def tokens(store: Store) -> Iterator[TokenRow]:
    """Yield all tokens, in no order: a small table, read whole by the command that lists them, never by a request."""
    yield from map(TokenRow._make, store.rows(SELECT_ALL))


def delete_token(store: Store, sha256: str) -> None:
    """Forget the token with this hash; it need not be there."""
    store.one(DELETE, (sha256,))
