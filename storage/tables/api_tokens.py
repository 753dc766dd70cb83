"""What all processes of the API share: tokens by their hash (`api_tokens`), secrets (`api_secrets`), keys of requests.

The keys of requests that came before are in `idempotency_keys`, so that a repeated request creates nothing twice.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import NamedTuple

from storage.driver.session import Store, statement

INSERT_TOKEN = statement("INSERT INTO api_tokens (sha256, role, name, created_time) VALUES (?, ?, ?, ?)")
SELECT_TOKEN = statement("SELECT sha256, role, name, toUnixTimestamp(created_time) FROM api_tokens WHERE sha256 = ?")
SELECT_TOKENS = statement("SELECT sha256, role, name, toUnixTimestamp(created_time) FROM api_tokens")
DELETE_TOKEN = statement("DELETE FROM api_tokens WHERE sha256 = ?")
INSERT_SECRET = statement(
    "INSERT INTO api_secrets (name, secret, created_time) VALUES (?, ?, toTimestamp(now())) IF NOT EXISTS"
)
SELECT_SECRET = statement("SELECT secret FROM api_secrets WHERE name = ?")
INSERT_KEY = statement("""
INSERT INTO idempotency_keys (key, fingerprint, claimed_time) VALUES (?, ?, toTimestamp(now())) IF NOT EXISTS""")
SELECT_KEY = statement("SELECT fingerprint FROM idempotency_keys WHERE key = ?")


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
    store.one(INSERT_TOKEN, row)


def token(store: Store, sha256: str) -> TokenRow | None:
    """The token with this hash, or None."""
    row = store.one(SELECT_TOKEN, (sha256,))
    return None if row is None else TokenRow._make(row)


def tokens(store: Store) -> Iterator[TokenRow]:
    """Yield all tokens, in no order: a small table, read whole by the command that lists them, never by a request."""
    yield from map(TokenRow._make, store.rows(SELECT_TOKENS))


def delete_token(store: Store, sha256: str) -> None:
    """Forget the token with this hash; it need not be there."""
    store.one(DELETE_TOKEN, (sha256,))


def shared_secret(store: Store, name: str) -> str:
    """The secret of this name, made at the first call of whoever comes first.

    Raises:
        StoreUnavailable: Cassandra is away.
    """
    row = store.one(SELECT_SECRET, (name,))
    if row is None:
        store.one(INSERT_SECRET, (name, secrets.token_urlsafe(32)))
        row = store.one(SELECT_SECRET, (name,))
    assert row is not None, "written just above"  # noqa: S101
    return str(row[0])


def claim_request(store: Store, key: str, fingerprint: str) -> bool:
    """Whether the key is free for this request, or was given by an equal one within the last day.

    Args:
        store: where.
        key: of the client, with whatever keeps clients apart.
        fingerprint: what the request is; equal requests have equal ones.

    Raises:
        StoreUnavailable: Cassandra is away.
    """
    store.one(INSERT_KEY, (key, fingerprint))
    # Read in any case: an answer lost on the way leaves open who wrote it, and the row alone knows.
    row = store.one(SELECT_KEY, (key,))
    return row is None or row[0] == fingerprint
