"""One reader of the anomaly feed for all live listeners of this process, and what it read last.

A listener holds no queue of its own but a cursor into the frames that all share: an anomaly is fetched, shaped and
encoded once, whoever listens. Who falls behind by more than is kept is dropped, and nobody else notices.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from api.http.store_connection import STORE_AWAY, StoreProvider
from api.http.times import rfc3339
from api.representations.anomalies import Anomaly
from core.errors import StoreUnavailable
from core.settings import Settings
from core.station_silence import is_stale
from core.times import DAY_MS, HOUR_MS
from storage.tables.anomalies import AnomalyRow
from storage.tables.anomaly_feed import Position, arrived
from storage.tables.stream_progress import Progress, progress

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
SIGN_SECONDS = 5.0
FRAMES_KEPT = 5000
PAGE = 1000
_START_SECONDS = 1.8


class TooSlow(Exception):
    """The frames behind this cursor are no longer kept."""


class Frame(NamedTuple):
    """One server-sent event without its id line.

    `place` is the Kafka partition and offset of an anomaly, None for signs; `position` is the one behind it.
    """

    text: bytes
    position: Position
    place: tuple[int, int] | None = None
    station_id: str = ""
    severity: float = 0.0


def event(kind: str, data: object) -> bytes:
    """The lines of a server-sent event, up to the blank line that ends it."""
    return b"event: %s\ndata: %s\n" % (kind.encode(), msgspec.json.encode(data))


class Frames:
    """The last frames, numbered without end. Written by one thread, read by many."""

    def __init__(self, kept: int = FRAMES_KEPT) -> None:
        self._kept: deque[Frame] = deque()
        self._most = kept
        self._end = 0
        self._changed = threading.Condition()
        self._closed = False
        self.base: Position = {}
        """The position before the oldest frame kept."""
        self.position: Position = {}
        """The position behind the newest frame."""

    def begin(self, position: Position) -> None:
        """Start at this position, with nothing kept."""
        with self._changed:
            self.base = self.position = position

    def add(self, frames: Iterable[Frame], position: Position) -> None:
        """Append frames that lead to `position`, and wake who waits."""
        with self._changed:
            for frame in frames:
                self._kept.append(frame)
                self._end += 1
            while len(self._kept) > self._most:
                self.base = self._kept.popleft().position
            self.position = position
            self._changed.notify_all()

    def close(self) -> None:
        """Let every listener end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def join(self, after: Mapping[int, int] | None) -> tuple[int, Position]:
        """Where a listener at position `after` begins: its cursor, and the position it has to reach by itself first.

        That position is no further than `after` when the frames kept go back far enough.
        """
        with self._changed:
            if after is not None and all(after.get(partition, 0) >= offset for partition, offset in self.base.items()):
                return self._end - len(self._kept), self.base
            return self._end, self.position

    def behind(self, cursor: int, timeout_seconds: float) -> tuple[list[Frame], int] | None:
        """The frames behind `cursor` and the cursor behind them, waiting for some; None: no more will come.

        Raises:
            TooSlow: some are no longer kept.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._end > cursor, timeout_seconds)
            if self._closed:
                return None
            skipped = cursor - (self._end - len(self._kept))
            if skipped < 0:
                raise TooSlow
            return list(islice(self._kept, skipped, None)), self._end


class LiveFeed:
    """Follows the feed below `complete_to`, once somebody listens.

    Args:
        settings: of this process.
        store: the way to Cassandra.
        now_ms: the clock, ms since the epoch.
    """

    def __init__(self, settings: Settings, store: StoreProvider, now_ms: Callable[[], int]) -> None:
        self.frames = Frames()
        self.now_ms = now_ms
        self._store = store
        self._topic = settings.readings_topic
        self._stale_seconds = settings.api_stale_seconds
        # Kafka keeps nothing longer, hence no record time of what the stream still reads lies further back.
        self._kept_ms = settings.topic_retention_hours * HOUR_MS + DAY_MS
        self._model_name = settings.model_name
        self._following = threading.Event()
        self._closing = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self.last_sign = b""
        """The newest `status`, for who begins to listen."""
        self._sign: dict[str, Any] = {}
        self._signed = 0.0

    def start(self) -> None:
        """Begin to follow, unless it is under way.

        Raises:
            StoreUnavailable: the store did not say in time how far the stream is.
        """
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="live-feed", daemon=True)
                self._thread.start()
        if not self._following.wait(_START_SECONDS):
            raise StoreUnavailable("the live feed waits for Cassandra")

    def close(self) -> None:
        """Let all listeners end. Only sets flags: it is called while the server stops."""
        self._closing.set()
        self.frames.close()

    @property
    def since_ms(self) -> int:
        """Record time before which nothing can have arrived, ms since the epoch."""
        return self.now_ms() - self._kept_ms

    def frames_of(self, rows: list[AnomalyRow], before: Position) -> list[Frame]:
        """Anomalies as frames, each with the position behind it; `before` is the one before them."""
        made, position = [], dict(before)
        for row in rows:
            place = row.kafka_partition, row.kafka_offset
            position = {**position, place[0]: place[1] + 1}
            text = event("anomaly", Anomaly.from_row(row, self._model_name, feedback=None))
            made.append(Frame(text, position, place, row.station_id, row.severity))
        return made

    def _run(self) -> None:
        while not self._closing.wait(POLL_SECONDS if self._following.is_set() else 0.05):
            known: Progress | None = None
            try:
                known = self._advance()
            except STORE_AWAY as error:
                self._store.mark_suspect(error)
                self._closing.wait(POLL_SECONDS)
            except Exception:  # The edge of a thread: if it died, every listener would hear nothing for good.
                log.exception("live feed: unexpected")
            self._give_sign(known)

    def _advance(self) -> Progress:
        store = self._store.get()
        known = progress(store, self._topic)
        complete = {partition: row.complete_to for partition, row in known.partitions.items() if row.complete_to}
        if not self._following.is_set():
            self.frames.begin(complete)
            self._following.set()
        more = True
        while more:
            before = self.frames.position
            rows, position, more = arrived(store, before, complete, self.since_ms, PAGE)
            if position != before:
                self.frames.add(self.frames_of(rows, before), position)
        return known

    def _give_sign(self, known: Progress | None) -> None:
        """Say every few seconds, and at once when it changes, whether anybody watches the stations."""
        sign_ms = known.heartbeat_ms if known else None
        stale = is_stale(sign_ms, self.now_ms(), self._stale_seconds)
        sign = {"store": known is not None, "watching": not stale}
        now = time.monotonic()
        if not self._following.is_set() or (sign == self._sign and now - self._signed < SIGN_SECONDS):
            return
        self._sign, self._signed = sign, now
        self.last_sign = event("status", {**sign, "last_sign": rfc3339(sign_ms) if sign_ms is not None else None})
        position = self.frames.position
        self.frames.add([Frame(b": heartbeat\n" + self.last_sign, position)], position)
