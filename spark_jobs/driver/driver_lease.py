"""The driver's lease on its keyspace: agreed on in Cassandra, kept alive, and given back."""

from __future__ import annotations

import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable

import psutil

from core.errors import StoreUnavailable
from spark_jobs.driver.checkpoint import AlreadyRunning
from storage.driver import lease
from storage.driver.session import Store

TTL_SECONDS = 30
log = logging.getLogger(__name__)


class DriverLease:
    """Held by one driver per topic and keyspace, where the file lock of a checkpoint does not reach."""

    def __init__(self, store: Store, topic: str, checkpoint: str) -> None:
        self._store = store
        self._topic = topic
        self._checkpoint = checkpoint
        self._host = socket.gethostname()
        self._owner = f"{self._host}:{os.getpid()}:{uuid.uuid4().hex[:8]}"

    def take(self) -> None:
        """Take the lease; one whose driver died on this machine need not lapse first.

        Raises:
            AlreadyRunning: another driver holds it.
        """
        held = lease.holder(self._store, self._topic)
        # In a container every driver may be process 1 of a host of the same name.
        gone = held is not None and (held.pid == os.getpid() or not psutil.pid_exists(held.pid))
        dead = held.owner if held and gone and held.host == self._host else None
        refused = lease.acquire(
            self._store, self._topic, self._owner, self._host, os.getpid(), self._checkpoint, TTL_SECONDS, dead
        )
        if refused:
            raise AlreadyRunning(
                f"keyspace {self._store.config.keyspace} is written by the driver {refused.owner} with checkpoint "
                f"{refused.checkpoint}; stop it, or wait {TTL_SECONDS} s if its machine died"
            )

    def keep(self, stop: threading.Event, on_lost: Callable[[str], None]) -> None:
        """Renew until stopped; `on_lost` is told who holds the lease when it is lost."""
        while not stop.wait(TTL_SECONDS / 3):
            try:
                other = lease.renew(
                    self._store, self._topic, self._owner, self._host, os.getpid(), self._checkpoint, TTL_SECONDS
                )
            except StoreUnavailable as error:
                # Nobody else can take it either while Cassandra is away.
                log.warning("the lease could not be renewed: %s", error)
                continue
            if other:
                on_lost(other.owner)
                return

    def give_back(self) -> None:
        """Release the lease, so that the next driver need not wait."""
        try:
            lease.release(self._store, self._topic, self._owner, deadline_seconds=2.0)
        except StoreUnavailable as error:
            log.warning("the lease lapses by itself in %d s: %s", TTL_SECONDS, error)
