"""One process at a time folds the alarms of a keyspace."""

from __future__ import annotations

import os
import socket
import time
import uuid

import psutil

from storage.driver import lease
from storage.driver.lease import Holder
from storage.driver.session import Store

TTL_SECONDS = 30
RENEW_SECONDS = 5.0


class FoldLease:
    """Held, or waited for.

    Args:
        topic: the readings' topic.
    """

    def __init__(self, topic: str) -> None:
        # No Kafka topic has a colon in its name, so this lease is never a stream's.
        self._name = f"alarms:{topic}"
        self._host = socket.gethostname()
        self._owner = f"{self._host}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._renewed = float("-inf")

    def mine(self, store: Store) -> bool:
        """Whether this process holds the lease; asks seldom while it does.

        Raises:
            StoreUnavailable: Cassandra is away.
        """
        begun = time.monotonic()
        if begun - self._renewed < RENEW_SECONDS:
            return True
        held = lease.holder(store, self._name)
        dead = held.owner if held is not None and self._is_dead(held) else None
        other = lease.acquire(
            store, self._name, self._owner, self._host, os.getpid(), "", TTL_SECONDS, dead, deadline_seconds=0.0
        )
        self._renewed = begun if other is None else float("-inf")
        return other is None

    def give_back(self, store: Store) -> None:
        """Let another one begin at once.

        Raises:
            StoreUnavailable: Cassandra is away; it lapses by itself.
        """
        lease.release(store, self._name, self._owner, deadline_seconds=0.0)

    def _is_dead(self, held: Holder) -> bool:
        """Whether the holder ran on this machine and is gone; then its lease need not lapse."""
        # In a container every process may be number 1 of a host of the same name.
        gone = held.pid == os.getpid() or not psutil.pid_exists(held.pid)
        return held.host == self._host and held.owner != self._owner and gone
