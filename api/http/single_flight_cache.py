"""Values and answers that are made once for all who ask for the same at the same moment.

Many screens ask for the same thing at the same moment: it is read from Cassandra and written as JSON once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, Generic, NamedTuple, TypeVar

from flask import Response, current_app

from api.http.problems import refuse

Value = TypeVar("Value")
MOST_ENTRIES = 64
_WAIT_SECONDS = 10.0


class SingleFlightCache(Generic[Value]):
    """Values by key, each made by the first who asks and given to all who ask while it is fresh or being made.

    Made on demand only, and never twice at once for a key. If that fails, it fails for all who wait.

    Args:
        seconds: how old a value may be, counted from when its making began. With 0 it is shared by those only who ask
            while it is being made.
        most: how many values are kept.
    """

    def __init__(self, seconds: float, most: int = MOST_ENTRIES) -> None:
        self._seconds, self._most = seconds, most
        self._lock = threading.Lock()
        self._entries: dict[Hashable, tuple[float, Future[Value]]] = {}

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of `key`. Not to be changed by whom it is given to.

        Raises:
            HTTPError: 503; it is being made, and that takes too long.
        """
        with self._lock:
            start, future = self._entries.get(key, (0.0, None))
            now = time.monotonic()
            is_maker = future is None or (future.done() and now - start >= self._seconds)
            if is_maker:
                self._entries.pop(key, None)
                while len(self._entries) >= self._most:
                    del self._entries[next(iter(self._entries))]
                future = Future()
                self._entries[key] = now, future
        assert future is not None  # noqa: S101
        if is_maker:
            self._make(key, future, make)
        try:
            return future.result(_WAIT_SECONDS)
        except TimeoutError:
            detail = "Others ask for the same, and it takes long; try again after the seconds in Retry-After."
            raise refuse(503, "busy", detail, {"Retry-After": "2"}) from None

    def clear(self) -> None:
        """Give nobody what was made, or begun, before."""
        with self._lock:
            self._entries.clear()

    def _make(self, key: Hashable, future: Future[Value], make: Callable[[], Value]) -> None:
        try:
            future.set_result(make())
        except BaseException as error:
            with self._lock:
                if self._entries.get(key, (0.0, None))[1] is future:
                    del self._entries[key]
            future.set_exception(error)


class _Answer(NamedTuple):
    body: bytes
    mimetype: str


class AnswerCache:
    """Whole answers by address and parameters, for reads that do not depend on who asks.

    Args:
        seconds: how old an answer may be.
    """

    def __init__(self, seconds: float) -> None:
        self._shared: SingleFlightCache[_Answer] = SingleFlightCache(seconds)

    def get(self, route: str, query: dict[str, Any], answer: Callable[[], Response]) -> Response:
        """The answer of `route` to these parameters, made by `answer` unless a fresh one is there."""

        def make() -> _Answer:
            response = answer()
            return _Answer(response.get_data(), str(response.mimetype))

        body, mimetype = self._shared.get((route, *sorted(query.items())), make)
        return current_app.response_class(body, mimetype=mimetype)

    def clear(self) -> None:
        """Something was written that answers show: the next ones are made again."""
        self._shared.clear()
