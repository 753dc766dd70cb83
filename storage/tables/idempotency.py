"""Table `idempotency_keys`: which requests came before, so that a repeated one creates nothing twice."""

from __future__ import annotations

from storage.driver.session import Store

INSERT = """
INSERT INTO idempotency_keys (key, fingerprint, claimed_time) VALUES (?, ?, toTimestamp(now())) IF NOT EXISTS"""
SELECT = "SELECT fingerprint FROM idempotency_keys WHERE key = ?"


def claim(store: Store, key: str, fingerprint: str) -> bool:
    """Whether the key is free for this request, or was given by an equal one within the last day.

    Args:
        store: where.
        key: of the client, with whatever keeps clients apart.
        fingerprint: what the request is; equal requests have equal ones.

    Raises:
        StoreUnavailable: Cassandra is away.
    """
    store.one(INSERT, (key, fingerprint))
    # Read in any case: an answer lost on the way leaves open who wrote it, and the row alone knows.
    row = store.one(SELECT, (key,))
    return row is None or row[0] == fingerprint
