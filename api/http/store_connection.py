"""The API's way to the store: never waits long, knows when Cassandra is away, finds back by itself."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Protocol

from core.errors import Retryable, StationwatchError, StoreUnavailable
from storage.driver.retry import SchemaMissing
from storage.driver.session import Store

log = logging.getLogger(__name__)

REQUEST_TIMEOUT_SECONDS = 1.5
"""How long one request to Cassandra may take: with it a client has its 503 within 2 s."""

PROBE_SECONDS = 1.0

FAILED_PROBES = 2
"""In a row, before everybody is refused without asking Cassandra: on a loaded machine a single one may be late."""

STORE_AWAY = (Retryable, SchemaMissing)
"""What passes by itself, or by `python -m storage schema`, while the API runs: 503, never 500."""


SUSPECT_SECONDS = 0.5
"""How long a caller waits for the probe after another one's request has failed; alive, it answers in ms."""


class StoreProvider(Protocol):
    """What the routes need of the store."""

    def get(self) -> Store:
        """The open store.

        Raises:
            StoreUnavailable: Cassandra is away; known without asking it.
        """

    def mark_suspect(self, error: StationwatchError) -> None:
        """Say that a request has just failed with this."""


class GuardedStore(Store):
    """A store that asks before each statement whether it should: a request makes many, one after the other.

    Args:
        store: the open one.
        check: raises when the statement should not be sent.
    """

    def __init__(self, store: Store, check: Callable[[], None]) -> None:
        self.__dict__.update(store.__dict__)
        self._check = check

    def prepared(self, cql: str) -> Any:
        """The prepared statement of `cql`, which everything that is asked goes through.

        Raises:
            StoreUnavailable: Cassandra is away, as somebody else has just found out.
        """
        self._check()
        return super().prepared(cql)


class StoreConnection:
    """A store that is opened and watched by a thread of its own.

    A request that meets a silent Cassandra costs its caller the driver's timeout. From then on callers wait for a probe
    first, briefly, and once `FAILED_PROBES` in a row have failed they are refused at once: so a paused Cassandra cannot
    occupy every thread of the server, and one expensive query that took too long turns nobody away.

    Args:
        connect: one attempt to open the store.
        warm_up: run once after connecting, with the statements the routes use: preparing one lazily would wait for the
            driver's own 10 s, which no setting reaches.
        probe: a small read.
        probe_seconds: pause between two probes.
        check: asked before each statement of a caller; raises to refuse it.
    """

    def __init__(
        self,
        connect: Callable[[], Store],
        warm_up: Callable[[Store], object],
        probe: Callable[[Store], object],
        probe_seconds: float = PROBE_SECONDS,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._connect = connect
        self._warm_up = warm_up
        self._probe = probe
        self._probe_seconds = probe_seconds
        self._check_caller = check
        self._store: Store | None = None
        self._guarded: Store | None = None
        self._warm = False
        self._failed_probes = 0
        self._is_answering = threading.Event()
        self._is_trusted = threading.Event()
        self._is_probed = threading.Event()
        self._wake = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def start(self) -> None:
        """Begin to connect, in the background. Called after the fork: threads do not survive one."""
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="store-watch", daemon=True)
                self._thread.start()

    def get(self) -> Store:
        """The open store.

        Raises:
            StoreUnavailable: not connected yet, or the last probes failed.
        """
        self.start()
        self._is_probed.wait(REQUEST_TIMEOUT_SECONDS)
        guarded = self._guarded
        if guarded is None or not self._is_answering.is_set():
            raise StoreUnavailable("Cassandra does not answer")
        if not self._is_trusted.wait(SUSPECT_SECONDS):
            raise StoreUnavailable("Cassandra did not answer lately")
        return guarded

    def mark_suspect(self, error: StationwatchError) -> None:
        """Probe at once; callers wait for that. Without effect while the store is known to be away."""
        if self._is_answering.is_set():
            log.info("store: a request failed: %s", error)
            self._is_trusted.clear()
            self._wake.set()

    def close(self) -> None:
        """Stop watching and close the connections."""
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=REQUEST_TIMEOUT_SECONDS)
        if self._store is not None:
            self._store.close()

    def _watch(self) -> None:
        while not self._closing:
            self._wake.clear()
            self._check()
            self._is_probed.set()
            is_suspect = self._failed_probes > 0 and self._is_answering.is_set()
            self._wake.wait(0.0 if is_suspect else self._probe_seconds)
            if self._closing:
                return

    def _check(self) -> None:
        try:
            if self._store is None:
                self._store = self._connect()
                self._guarded = GuardedStore(self._store, self._may_ask)
            if not self._warm:
                self._warm_up(self._store)
                self._warm = True
            self._probe(self._store)
        except StationwatchError as error:
            self._lost(str(error))
        except Exception as error:  # The edge of a thread: if it died, the API would stay away for good.
            log.exception("store: unexpected")
            self._lost(type(error).__name__)
        else:
            if not self._is_answering.is_set():
                log.info("store: Cassandra answers")
            self._failed_probes = 0
            self._is_trusted.set()
            self._is_answering.set()

    def _may_ask(self) -> None:
        self._check_caller()
        if not self._is_answering.is_set():
            raise StoreUnavailable("Cassandra does not answer")

    def _lost(self, why: str) -> None:
        self._failed_probes += 1
        self._is_trusted.clear()
        if self._is_answering.is_set() or not self._is_probed.is_set():
            log.warning("store: %s", why)
        if self._failed_probes >= FAILED_PROBES:
            self._is_answering.clear()
