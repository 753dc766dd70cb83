"""What one caller may take: requests a minute and time; and how many requests work at once."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from apiflask import APIFlask
from flask import Response, g, request
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from api.http.problems import refuse

WORKING = 24
"""Requests that work at once. More would only share two processors, and wait in Cassandra's queues instead of here."""

REQUEST_SECONDS = 10.0
"""After this a request sends no further statement to Cassandra; streams and exports have begun to answer by then."""

BAD_TOKENS_A_MINUTE = 60

_PLACE_SECONDS = 1.0
_BUSY_SECONDS = 2
_FREE = frozenset({"health.livez", "metrics.metrics"})
_until: ContextVar[float] = ContextVar("until", default=math.inf)


class Rate:
    """So many a minute for each key, in the memory of this process, which is the only one that serves.

    Args:
        per_minute: how many; 0 is without limit.
        what: counted, for the refusal.
    """

    def __init__(self, per_minute: int, what: str) -> None:
        self._limit = RateLimitItemPerMinute(per_minute) if per_minute else None
        self._counter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._what = what

    def count(self, key: str) -> None:
        """Count one.

        Raises:
            HTTPError: 429 with Retry-After; the key has had its share.
        """
        if self._limit is not None and not self._counter.hit(self._limit, key):
            raise self._refused(key)

    def check(self, key: str) -> None:
        """Refuse like `count`, without counting."""
        if self._limit is not None and not self._counter.test(self._limit, key):
            raise self._refused(key)

    def _refused(self, key: str) -> Exception:
        assert self._limit is not None  # noqa: S101
        seconds = max(1, math.ceil(self._counter.get_window_stats(self._limit, key).reset_time - time.time()))
        detail = f"More than {self._limit.amount} {self._what} a minute; try again after the seconds in Retry-After."
        return refuse(429, "too-many-requests", detail, {"Retry-After": str(min(60, seconds))})


def register_limits(app: APIFlask, per_minute: int) -> None:
    """Bound what each caller of `app` takes. Registered after who it is was found out.

    Args:
        app: the application.
        per_minute: requests a minute of one token, or of one address where there are no tokens; 0 is without limit.
    """
    rate = Rate(per_minute, "requests")
    places = threading.BoundedSemaphore(WORKING)

    @app.before_request
    def take() -> None:
        if request.endpoint in _FREE:
            return
        rate.count(g.caller)
        if not places.acquire(timeout=_PLACE_SECONDS):
            busy = {"Retry-After": str(_BUSY_SECONDS)}
            raise refuse(503, "busy", "Too many requests at once; try again after the seconds in Retry-After.", busy)
        g.place = places
        _until.set(time.monotonic() + REQUEST_SECONDS)

    @app.after_request
    def begun(response: Response) -> Response:
        # What a stream reads while it is being sent is bounded by how fast the client reads, not by this.
        _give_back()
        return response

    @app.teardown_request
    def left(error: BaseException | None) -> None:
        _give_back()


def check_time() -> None:
    """ScoreRequest before each statement to Cassandra.

    Raises:
        HTTPError: 503; the request at hand has had its time.
    """
    if time.monotonic() > _until.get():
        detail = f"This takes longer than {REQUEST_SECONDS:.0f} s; ask for less at once."
        raise refuse(503, "query-timeout", detail, {"Retry-After": str(_BUSY_SECONDS)})


@contextmanager
def time_stopped() -> Iterator[None]:
    """What happens inside the block is no part of the request's time: a model that is loaded, once in a process."""
    begun = time.monotonic()
    try:
        yield
    finally:
        _until.set(_until.get() + time.monotonic() - begun)


def _give_back() -> None:
    _until.set(math.inf)
    place: threading.BoundedSemaphore | None = g.pop("place", None)
    if place is not None:
        place.release()
