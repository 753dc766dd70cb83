"""The thread that keeps past hours counted; of all API processes one at a time does it."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid

from api.http.store_connection import STORE_AWAY
from api.services.context import Context
from storage.driver import lease
from storage.driver.session import Store
from storage.tables.recounting import Recounter

log = logging.getLogger(__name__)

PAUSE_SECONDS = 2.0
LEASE_SECONDS = 30


class CountKeeper:
    """Recounts what the feed touched, while this process holds the lease.

    Args:
        context: settings and store.
        pause_seconds: between two looks at the feed.
    """

    def __init__(self, context: Context, pause_seconds: float = PAUSE_SECONDS) -> None:
        self._context = context
        self._pause_seconds = pause_seconds
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="count-keeper", daemon=True)
        self._recounter: Recounter | None = None
        # No Kafka topic has a colon in its name, so this lease is never a stream's.
        self._lease = f"counts:{context.settings.readings_topic}"
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"

    def start(self) -> None:
        """Begin, in the background. Called after the fork: threads do not survive one."""
        self._thread.start()

    def close(self) -> None:
        """Stop, and give the lease back."""
        self._closing.set()
        self._thread.join(timeout=10.0)

    def _keep(self) -> None:
        pause = 0.0
        while not self._closing.wait(pause):
            pause = self._pause_seconds
            try:
                store = self._context.store.get()
                if self._mine(store) and self._step(store):
                    pause = 0.0
            except STORE_AWAY as error:
                self._context.store.mark_suspect(error)
            except Exception:  # The edge of a thread: if it died, past hours would be counted slowly for good.
                log.exception("counts: unexpected")
        self._give_back()

    def _step(self, store: Store) -> int:
        if self._recounter is None:
            days = self._context.settings.topic_retention_hours / 24 + 1
            self._recounter = Recounter(store, self._context.settings.readings_topic, _clock_us, days)
        return self._recounter.step()

    def _mine(self, store: Store) -> bool:
        holder = lease.renew(
            store, self._lease, self._owner, socket.gethostname(), os.getpid(), "", LEASE_SECONDS, deadline_seconds=0.0
        )
        if holder is not None:
            # Another one counts; what this one knows of the feed grows old.
            self._recounter = None
        return holder is None

    def _give_back(self) -> None:
        try:
            lease.release(self._context.store.get(), self._lease, self._owner, deadline_seconds=0.0)
        except STORE_AWAY:
            log.info("counts: the lease lapses by itself within %d s", LEASE_SECONDS)


def _clock_us() -> int:
    return time.time_ns() // 1000
