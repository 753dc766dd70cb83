"""Batches keep Cassandra's limits; writes are repeated until they are in, and never more than allowed are in flight."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Hashable
from types import SimpleNamespace
from typing import Any

import pytest
from cassandra import InvalidRequest, OperationTimedOut
from cassandra.cluster import NoHostAvailable
from cassandra.cqltypes import BytesType, Int32Type
from cassandra.protocol import ColumnMetadata
from cassandra.query import BatchStatement, BoundStatement, PreparedStatement, Statement
from hypothesis import given
from hypothesis import strategies as st

from core.errors import StoreUnavailable
from storage.driver.retry import SchemaMissing
from storage.driver.session import StoreConfig
from storage.driver.writes import BATCH_BYTES, BATCH_ROWS, MERGED_BYTES, MERGED_PARTITIONS, grouped, write_all

PREPARED = PreparedStatement(
    [ColumnMetadata("k", "t", "partition", Int32Type), ColumnMetadata("k", "t", "data", BytesType)],
    b"id",
    [0],
    "INSERT",
    "k",
    4,
    None,
    None,
)
PREPARED.is_idempotent = True


def row(partition: int, size: int) -> BoundStatement:
    return PREPARED.bind((partition, bytes(size)))


def values_of(statement: Statement) -> list[list[bytes]]:
    if isinstance(statement, BatchStatement):
        return [values for _, _, values in statement._statements_and_parameters]
    return [statement.values]


SIZES = st.lists(st.lists(st.integers(0, 3000), min_size=1, max_size=50), max_size=30)


@given(SIZES, st.integers(1, 3))
def test_batches_hold_every_row_once_within_the_limits(sizes: list[list[int]], nodes: int) -> None:
    """Breaks when a row is lost or doubled by batching, or a batch is one that Cassandra warns of or refuses."""
    partitions = [[row(at, size) for size in rows] for at, rows in enumerate(sizes)]

    def replicas_of(statement: BoundStatement) -> Hashable:
        return statement.values[0][-1] % nodes

    batches = [values_of(statement) for statement in grouped(partitions, replicas_of)]

    written = Counter((values[0], len(values[1])) for batch in batches for values in batch)
    assert written == Counter((made.values[0], len(made.values[1])) for rows in partitions for made in rows)
    for batch in batches:
        touched = {values[0] for values in batch}
        size = sum(len(values[1]) for values in batch)
        assert len(batch) <= BATCH_ROWS
        assert len({key[-1] % nodes for key in touched}) == 1
        assert len(batch) == 1 or size <= (BATCH_BYTES if len(touched) == 1 else MERGED_BYTES)
        assert len(touched) <= MERGED_PARTITIONS


def test_lone_rows_share_batches() -> None:
    """Breaks when many stations with one reading each cost one request each, three times the processor time."""
    assert len(list(grouped([[row(at, 50)] for at in range(100)], lambda _: None))) == 10


def test_batches_may_be_sent_again_by_the_driver_too() -> None:
    """Breaks when the driver takes batches for unrepeatable, and gives up at the first lost connection."""
    assert all(statement.is_idempotent for statement in grouped([[row(1, 5), row(1, 6)], [row(2, 5)]], str))


class Session:
    """Answers each statement in a thread of its own, as `answer` decides: None is success."""

    def __init__(self, answer: Callable[[Any], Exception | None]) -> None:
        self.sent: list[Any] = []
        self.most_in_flight = 0
        self._answer = answer
        self._in_flight = 0
        self._lock = threading.Lock()

    def execute_async(self, statement: Any, timeout: float) -> SimpleNamespace:
        with self._lock:
            self.sent.append(statement)
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)

        def add_callbacks(
            callback: Callable[..., None], errback: Callable[..., None], errback_args: tuple[Any]
        ) -> None:
            def respond() -> None:
                with self._lock:
                    self._in_flight -= 1
                error = self._answer(statement)
                if error is None:
                    callback(None)
                else:
                    errback(error, *errback_args)

            threading.Thread(target=respond).start()

        return SimpleNamespace(add_callbacks=add_callbacks)


def store_with(answer: Callable[[Any], Exception | None]) -> tuple[Any, Session]:
    session = Session(answer)
    return SimpleNamespace(session=session, config=StoreConfig(request_timeout_seconds=1.0)), session


def test_what_failed_is_sent_again_until_it_is_in() -> None:
    """Breaks when a timeout, which means unknown, loses a row, or when what is known to be in is written again."""
    tries: Counter[int] = Counter()

    def answer(statement: int) -> Exception | None:
        tries[statement] += 1
        return OperationTimedOut() if statement % 5 == 0 and tries[statement] < 3 else None

    store, session = store_with(answer)
    waits: list[float] = []
    write_all(store, range(1, 201), 30.0, lambda error, pause: waits.append(pause))

    assert tries == {number: 3 if number % 5 == 0 else 1 for number in range(1, 201)}
    assert session.most_in_flight <= 64
    assert len(waits) == 2


def test_a_store_that_was_away_for_a_whole_window_gets_what_was_never_sent_as_well() -> None:
    """Breaks when giving up early on a window of failures loses the statements behind it, in silence."""
    tries: Counter[int] = Counter()

    def answer(statement: int) -> Exception | None:
        tries[statement] += 1
        return OperationTimedOut() if len(tries) <= 100 and tries[statement] == 1 else None

    store, _ = store_with(answer)
    # As the tables' rows come: a generator, which could be closed.
    write_all(store, (number for number in range(1000)), 30.0)
    assert sorted(tries) == list(range(1000))


def test_at_the_deadline_the_store_is_unavailable() -> None:
    """Breaks when a task waits for ever, or takes a dead Cassandra for success."""
    store, session = store_with(lambda _: NoHostAvailable("down", {}))
    with pytest.raises(StoreUnavailable, match="does not answer"):
        write_all(store, range(100_000), 1.0, in_flight=8)
    assert len(session.sent) < 10_000, "a dead server is not asked for every row"


def test_a_refused_statement_is_not_repeated() -> None:
    """Breaks when a mistake of ours is retried until the deadline and then reported as an outage."""
    store, session = store_with(lambda _: InvalidRequest("Batch too large"))
    with pytest.raises(InvalidRequest, match="too large"):
        write_all(store, range(3), 30.0)
    assert len(session.sent) == 3


def test_a_missing_table_names_the_command_to_run() -> None:
    """Breaks when a forgotten schema shows as the driver's error."""
    store, _ = store_with(lambda _: InvalidRequest("table readings does not exist"))
    with pytest.raises(SchemaMissing, match="python -m storage schema"):
        write_all(store, range(3), 30.0)


def test_trouble_with_one_statement_does_not_hide_a_refusal_of_another() -> None:
    """Breaks when a retryable error beside a fatal one keeps the call retrying."""
    store, _ = store_with(lambda number: InvalidRequest("no") if number == 7 else OperationTimedOut())
    with pytest.raises(InvalidRequest):
        write_all(store, range(10), 30.0)
