"""`/api/v1/anomalies/stream`: anomalies as they arrive, as server-sent events that can be resumed."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

from apiflask import APIBlueprint
from apiflask.fields import String
from flask import Response, request
from marshmallow.validate import Regexp

from api.http.bulkhead import Bulkhead
from api.http.problems import refuse
from api.http.query import STRICT, BoundedNumber, StationId, StrictQuery
from api.http.store_connection import STORE_AWAY
from api.http.times import rfc3339
from api.openapi import ok
from api.services.context import Context
from api.services.live_feed import Frame, LiveFeed, TooSlow, event
from core.times import HOUR_MS
from storage.driver.session import Store
from storage.tables.anomaly_feed import Position, arrived, oldest_hour
from storage.tables.stream_progress import progress

LISTENERS = 600
RESUME_HOURS = 24
RETRY_MS = 2000
_WAIT_SECONDS = 30.0
_RESUMING = 8
_RESUME_PAGE = 500
NOWHERE = "0:0"
"""The id before the first reading: an empty one would make the client forget that it ever had one."""

_ID = re.compile(r"[0-9]{1,6}:[0-9]{1,18}(,[0-9]{1,6}:[0-9]{1,18})*", re.ASCII)
_ABOUT = f"""Server-sent events, in the order of arrival, late readings included:
- `anomaly`: the same document as in the list; `feedback` is null, nobody has judged it yet.
- `status`: every few seconds and whenever it changes: `{{"store": true, "watching": true, "last_sign": "…"}}`. While
  `watching` is false, quiet means blind.
- `reset`: the resume point is unknown or anomalies behind it arrived more than {RESUME_HOURS} hours ago; nothing older
  than this event follows, read the list for what lies between.
- `dropped`: this listener read too slowly; the connection ends and can be resumed.

Every event's id is the vector of Kafka offsets it leads to. A client that comes back with it in `Last-Event-ID` (or in
`last_event_id`) misses nothing and gets nothing twice, also from another process."""


EVENT = {
    "type": "object",
    "description": "One event; `retry` comes with the first.",
    "required": ["event", "data"],
    "properties": {
        "event": {"enum": ["anomaly", "status", "reset", "dropped"]},
        "data": {"type": "string", "description": "a JSON document"},
        "id": {"type": "string", "pattern": f"^{_ID.pattern}$"},
        "retry": {"type": "integer", "minimum": 0},
    },
}


class ListenQuery(StrictQuery):
    """Parameters of the stream."""

    station_id = StationId(metadata={"description": "only this station"})
    min_severity = BoundedNumber(
        0, 100, load_default=0.0, metadata={"description": "only anomalies at least this severe"}
    )
    last_event_id = String(
        validate=Regexp(rf"\A{_ID.pattern}\Z", error="expected the id of an event of this stream, such as 0:123,1:456"),
        metadata={"description": "where to resume, for clients that cannot send Last-Event-ID"},
    )


class Wanted(NamedTuple):
    """What one listener asked for."""

    station_id: str | None = None
    min_severity: float = 0.0

    def takes(self, frame: Frame) -> bool:
        """Whether this frame is sent to the listener; signs always are."""
        if frame.place is None:
            return True
        return frame.severity >= self.min_severity and self.station_id in (None, frame.station_id)


def live_routes(context: Context) -> APIBlueprint:
    """The stream of anomalies."""
    routes = APIBlueprint("live", __name__, url_prefix="/api/v1", tag="Anomalies")
    feed = context.live_feed
    places = Bulkhead(LISTENERS, "live listeners")
    resuming = threading.Semaphore(_RESUMING)

    @routes.get("/anomalies/stream")
    @routes.input(ListenQuery, location="query", arg_name="query", unknown=STRICT)
    @routes.doc(
        summary="Anomalies as they arrive",
        description=_ABOUT,
        responses={200: ok("Events, until one side ends the connection.", EVENT, "text/event-stream")},
    )
    def anomaly_stream(query: dict[str, Any]) -> Response:
        after = _resume_point(query.get("last_event_id"))
        store = context.store.get()
        feed.start()
        wanted = Wanted(query.get("station_id"), query["min_severity"])
        if request.method == "HEAD":
            return Response(mimetype="text/event-stream")
        listener = Listener(feed, store, context.settings.readings_topic, wanted, after, resuming)
        held = ExitStack()
        held.enter_context(places.place())
        response = Response(listener.events(), mimetype="text/event-stream")
        response.call_on_close(held.close)
        # Proxies such as nginx would hold the events back.
        response.headers["X-Accel-Buffering"] = "no"
        return response

    return routes


class Listener:
    """One connection: first what it missed, then what all get.

    Args:
        feed: of this process.
        store: for what it missed.
        topic: the readings' topic.
        wanted: its filters.
        after: the position it resumes from, None for a new one.
        resuming: places for those that read the store for themselves.
    """

    def __init__(
        self,
        feed: LiveFeed,
        store: Store,
        topic: str,
        wanted: Wanted,
        after: Position | None,
        resuming: threading.Semaphore,
    ) -> None:
        self._feed = feed
        self._store = store
        self._topic = topic
        self._wanted = wanted
        self._after = after
        self._resuming = resuming

    def events(self) -> Iterator[bytes]:
        """Yield what goes over the wire, until the feed closes or this listener is too slow."""
        cursor, target = self._feed.frames.join(self._after)
        reached = target if self._after is None else self._after
        yield b"retry: %d\n%s" % (RETRY_MS, self._feed.last_sign) + _id(reached)
        try:
            if self._after is not None:
                for page in self._missed(self._after, target):
                    reached, chunk = page
                    yield chunk
        except STORE_AWAY:
            return  # It comes back with the last id it got.
        yield from self._live(cursor, reached)

    def _missed(self, after: Position, target: Position) -> Iterator[tuple[Position, bytes]]:
        """Yield what lies between, page by page, with the position reached."""
        with self._resuming:
            refused = self._refused(after, target)
            if refused:
                yield target, event("reset", refused) + _id(target)
                return
            more, position = True, after
            while more:
                rows, reached, more = arrived(self._store, position, target, self._feed.since_ms, _RESUME_PAGE)
                frames = self._feed.frames_of(rows, position)
                position = _joined(position, reached)
                yield position, self._sent(frames)

    def _refused(self, after: Position, target: Position) -> dict[str, str] | None:
        """Why the stream cannot be resumed there, or None."""
        stored = progress(self._store, self._topic).partitions
        if not _covers({partition: row.complete_to or 0 for partition, row in stored.items()}, after):
            return {"code": "unknown", "detail": "This id is of another stream; what follows begins here."}
        kept = _covers(after, target)
        oldest = None if kept else oldest_hour(self._store, after, target, self._feed.since_ms)
        if oldest is not None and oldest < self._feed.now_ms() - (RESUME_HOURS + 1) * HOUR_MS:
            since = rfc3339(oldest)
            return {"code": "too_old", "detail": f"Anomalies since {since} were missed; what follows begins here."}
        return None

    def _live(self, cursor: int, ahead: Position) -> Iterator[bytes]:
        """Yield what all listeners get, apart from what this one has: `ahead` may be further than the frames are."""
        while True:
            try:
                found = self._feed.frames.behind(cursor, _WAIT_SECONDS)
            except TooSlow:
                yield event("dropped", {"detail": "This listener read too slowly; it can resume from its last id."})
                yield b"\n"
                return
            if found is None:
                return
            frames, cursor = found
            if ahead and frames:
                caught_up = _covers(frames[-1].position, ahead)
                frames = list(_behind(ahead, frames))
                ahead = {} if caught_up else ahead
            if frames:
                yield self._sent(frames)

    def _sent(self, frames: list[Frame]) -> bytes:
        return b"".join(frame.text + _id(frame.position) for frame in frames if self._wanted.takes(frame))


def _resume_point(given: str | None) -> Position | None:
    """The position named by the request, None for none.

    Raises:
        HTTPError: 400, a Last-Event-ID that this stream never gave.
    """
    text = request.headers.get("Last-Event-ID") or given
    if text is None:
        return None
    if not _ID.fullmatch(text):
        raise refuse(400, "bad-last-event-id", "Last-Event-ID is no id of this stream, such as 0:123,1:456.")
    pairs = (pair.split(":") for pair in text.split(","))
    return {int(partition): int(offset) for partition, offset in pairs}


def _id(position: Mapping[int, int]) -> bytes:
    """The line that ends an event: its id, and the blank line."""
    text = ",".join(f"{partition}:{offset}" for partition, offset in sorted(position.items()))
    return b"id: %s\n\n" % (text or NOWHERE).encode()


def _joined(one: Mapping[int, int], other: Mapping[int, int]) -> Position:
    """The furthest of two positions in every partition."""
    return {partition: max(one.get(partition, 0), other.get(partition, 0)) for partition in one.keys() | other.keys()}


def _covers(one: Mapping[int, int], other: Mapping[int, int]) -> bool:
    return all(one.get(partition, 0) >= offset for partition, offset in other.items())


def _behind(ahead: Position, frames: Iterable[Frame]) -> Iterator[Frame]:
    """Yield the frames that somebody at `ahead` did not have, their positions never before it."""
    for frame in frames:
        had = _covers(ahead, frame.position) if frame.place is None else frame.place[1] < ahead.get(frame.place[0], 0)
        if not had:
            yield frame._replace(position=_joined(frame.position, ahead))
