"""A wall between expensive requests and all others: they may not occupy every thread of the server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from api.http.problems import refuse

_WAIT_SECONDS = 0.2
_RETRY_AFTER_SECONDS = 5


class Bulkhead:
    """A few places for one kind of expensive request.

    Args:
        places: how many may run at once.
        what: named in the refusal.
    """

    def __init__(self, places: int, what: str) -> None:
        self._places = threading.BoundedSemaphore(places)
        self._what = what

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place for the block.

        Raises:
            HTTPError: 503 with Retry-After; none became free in time.
        """
        if not self._places.acquire(timeout=_WAIT_SECONDS):
            retry = {"Retry-After": str(_RETRY_AFTER_SECONDS)}
            raise refuse(
                503, "busy", f"Enough {self._what} are under way; try again after the seconds in Retry-After.", retry
            )
        try:
            yield
        finally:
            self._places.release()
