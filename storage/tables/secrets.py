"""Table `api_secrets`: what all processes of the API must share without being told."""

from __future__ import annotations

import secrets

from storage.driver.session import Store

INSERT = "INSERT INTO api_secrets (name, secret, created_time) VALUES (?, ?, toTimestamp(now())) IF NOT EXISTS"
SELECT = "SELECT secret FROM api_secrets WHERE name = ?"


def shared_secret(store: Store, name: str) -> str:
    """The secret of this name, made at the first call of whoever comes first.

    Raises:
        StoreUnavailable: Cassandra is away.
    """
    row = store.one(SELECT, (name,))
    if row is None:
        store.one(INSERT, (name, secrets.token_urlsafe(32)))
        row = store.one(SELECT, (name,))
    assert row is not None, "written just above"  # noqa: S101
    return str(row[0])
