"""What several askers are given together, and when Cassandra counts as away."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from api.http.single_flight_cache import SingleFlightCache
from api.http.store_connection import StoreConnection
from core.errors import StoreUnavailable
from tests.waiting import wait_until


def test_who_asks_while_it_is_made_gets_the_same() -> None:
    """Breaks when a hundred screens cost a hundred times as much as one, or somebody gets nothing."""
    shared: SingleFlightCache[int] = SingleFlightCache(0.0)
    begun, go_on, made = threading.Event(), threading.Event(), []

    def make() -> int:
        begun.set()
        assert go_on.wait(30)
        made.append(1)
        return len(made)

    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(shared.get, "key", make)
        assert begun.wait(30)
        others = [pool.submit(shared.get, "key", lambda: 99) for _ in range(7)]
        assert pool.submit(shared.get, "another", lambda: 5).result(30) == 5
        go_on.set()
        answers = [one.result(30) for one in (first, *others)]
    # One that came after it was made, which nothing hinders, makes its own.
    assert answers[0] == 1
    assert set(answers) <= {1, 99}
    assert made == [1]


def test_what_is_fresh_is_not_made_again_and_what_was_cleared_is() -> None:
    """Breaks when an answer is made for each asker, or hides what was just written."""
    shared, numbers = SingleFlightCache[int](600.0), iter(range(9))
    assert [shared.get("key", lambda: next(numbers)) for _ in range(3)] == [0, 0, 0]
    assert shared.get("other", lambda: next(numbers)) == 1
    shared.clear()
    assert shared.get("key", lambda: next(numbers)) == 2
    stale = SingleFlightCache[int](0.0)
    assert [stale.get("key", lambda: next(numbers)) for _ in range(2)] == [3, 4]


def test_a_failure_is_told_and_not_kept() -> None:
    """Breaks when an outage of a moment is answered for longer than it lasts."""
    shared: SingleFlightCache[int] = SingleFlightCache(600.0)

    def fail() -> int:
        raise StoreUnavailable("away")

    with pytest.raises(StoreUnavailable):
        shared.get("key", fail)
    assert shared.get("key", lambda: 1) == 1


def test_only_so_many_are_kept() -> None:
    """Breaks when every question anybody ever asked stays in memory."""
    shared, numbers = SingleFlightCache[int](600.0, most=2), iter(range(9))
    for key in "abc":
        shared.get(key, lambda: next(numbers))
    assert shared.get("c", lambda: next(numbers)) == 2
    assert shared.get("a", lambda: next(numbers)) == 3


class Probed:
    """A store whose probes fail when told to."""

    def __init__(self) -> None:
        self.left_to_fail = 0
        self.probes = 0

    def probe(self, store: Any) -> None:
        """Fail, or answer."""
        self.probes += 1
        if self.left_to_fail:
            self.left_to_fail -= 1
            raise StoreUnavailable("late")


@pytest.fixture
def probed() -> Probed:
    """Probes."""
    return Probed()


def handle_of(probed: Probed, seconds: float) -> StoreConnection:
    """A handle on a store that is only probed."""
    store: Any = SimpleNamespace(close=lambda: None)
    handle = StoreConnection(lambda: store, lambda store: None, probed.probe, seconds)
    handle.start()
    # Its end, not its beginning: what a test lets fail would else be the first probe.
    wait_until(lambda: not refused(handle), "the first probe")
    assert probed.probes == 1
    return handle


def test_one_late_answer_is_no_outage(probed: Probed) -> None:
    """Breaks when a query that took too long turns everybody away from a store that answers."""
    handle = handle_of(probed, 600.0)
    try:
        probed.left_to_fail = 1
        handle.mark_suspect(StoreUnavailable("a dear query"))
        assert handle.get() is not None
        wait_until(lambda: probed.probes == 3, "the second probe, at once")
        assert handle.get() is not None
    finally:
        handle.close()


def test_a_store_that_stays_silent_is_away_until_it_answers(probed: Probed) -> None:
    """Breaks when a paused Cassandra is asked by everybody, or a running one is not found back."""
    handle = handle_of(probed, 0.05)
    try:
        probed.left_to_fail = 1_000_000_000
        handle.mark_suspect(StoreUnavailable("silent"))
        wait_until(lambda: refused(handle), "callers are refused")
        probed.left_to_fail = 0
        wait_until(lambda: not refused(handle), "callers are served again")
    finally:
        handle.close()


def refused(handle: StoreConnection) -> bool:
    """Whether callers are turned away."""
    try:
        handle.get()
    except StoreUnavailable:
        return True
    return False
