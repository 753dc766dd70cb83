"""Table `stream_lease`: one driver at a time may write here, agreed on by lightweight transactions."""

from __future__ import annotations

from typing import NamedTuple

from storage.driver.retry import Patience
from storage.driver.session import Statement, Store, statement

LEASE_DEADLINE_SECONDS = 30.0


class Holder(NamedTuple):
    """Who holds a lease. `owner` is unique to one run of one driver; host, pid and checkpoint are for people."""

    owner: str
    host: str
    pid: int
    checkpoint: str


INSERT = statement("""
INSERT INTO stream_lease (topic, owner, host, pid, checkpoint) VALUES (?, ?, ?, ?, ?) IF NOT EXISTS USING TTL ?""")
UPDATE = statement("""
UPDATE stream_lease USING TTL ? SET owner = ?, host = ?, pid = ?, checkpoint = ? WHERE topic = ? IF owner = ?""")
DELETE = statement("DELETE FROM stream_lease WHERE topic = ? IF owner = ?")
SELECT = statement("SELECT owner, host, pid, checkpoint FROM stream_lease WHERE topic = ?")


def acquire(
    store: Store,
    topic: str,
    owner: str,
    host: str,
    pid: int,
    checkpoint: str,
    ttl_seconds: int,
    take_over_from: str | None = None,
    deadline_seconds: float = LEASE_DEADLINE_SECONDS,
) -> Holder | None:
    """Take the lease when nobody, `owner` itself, or `take_over_from` holds it.

    Args:
        store: where the lease is.
        topic: the readings' topic.
        owner: unique to this run.
        host: of this driver.
        pid: of this driver.
        checkpoint: its checkpoint folder or URI.
        ttl_seconds: without renewal the lease lapses after this, s.
        take_over_from: an owner known to be dead, whose lease need not lapse first.
        deadline_seconds: how long trouble is waited out, s.

    Returns:
        None when this owner holds the lease, otherwise who does.
    """
    mine = Holder(owner, host, pid, checkpoint)

    def attempt() -> Holder | None:
        if _applied(store, INSERT, (topic, *mine, ttl_seconds)):
            return None
        for replaced in filter(None, (owner, take_over_from)):
            if _applied(store, UPDATE, (ttl_seconds, *mine, topic, replaced)):
                return None
        return holder(store, topic) or Holder("unknown, just given back; try again", "", 0, "")

    return Patience(deadline_seconds).call(attempt)


def renew(
    store: Store,
    topic: str,
    owner: str,
    host: str,
    pid: int,
    checkpoint: str,
    ttl_seconds: int,
    deadline_seconds: float = LEASE_DEADLINE_SECONDS,
) -> Holder | None:
    """Hold the lease for another `ttl_seconds`; one that lapsed without another taker is taken again.

    Returns:
        None when this owner holds the lease, otherwise who does: then stop writing at once.
    """

    def attempt() -> Holder | None:
        if _applied(store, UPDATE, (ttl_seconds, owner, host, pid, checkpoint, topic, owner)):
            return None
        return acquire(store, topic, owner, host, pid, checkpoint, ttl_seconds, deadline_seconds=0.0)

    return Patience(deadline_seconds).call(attempt)


def release(store: Store, topic: str, owner: str, deadline_seconds: float = LEASE_DEADLINE_SECONDS) -> None:
    """Give the lease back; nothing happens when another holds it."""
    Patience(deadline_seconds).call(_applied, store, DELETE, (topic, owner))


def holder(store: Store, topic: str) -> Holder | None:
    """Who holds the lease, None for nobody."""
    row = store.one(SELECT, (topic,))
    return None if row is None or row[0] is None else Holder._make(row)


def _applied(store: Store, cql: Statement, values: tuple[object, ...]) -> bool:
    row = store.one(cql, values)
    return bool(row and row[0])
