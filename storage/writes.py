"""Writing many rows: bounded in flight, repeated until they are in or the deadline has passed."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import chain

from cassandra.query import BatchStatement, BatchType, BoundStatement, PreparedStatement, Statement

from models.detection.errors import StoreUnavailable
from storage.retries import DEADLINE_SECONDS, RETRYABLE, OnWait, Patience, translated
from storage.session import Store

IN_FLIGHT = 64
BATCH_ROWS = 20
# Cassandra refuses a batch of 50 KiB.
BATCH_BYTES = 20 * 1024

Bound = Iterable[tuple[Hashable, BoundStatement]]


def write_all(
    store: Store,
    statements: Iterable[Statement],
    deadline_seconds: float = DEADLINE_SECONDS,
    on_wait: OnWait | None = None,
    in_flight: int = IN_FLIGHT,
) -> None:
    """Write every statement; all are idempotent, so that one whose outcome is unknown is sent again.

    Args:
        store: where to.
        statements: consumed once, as room appears.
        deadline_seconds: how long trouble is waited out, s.
        on_wait: told about each pause.
        in_flight: most statements without an answer at any time.

    Raises:
        StoreUnavailable: some statement is not known to be written at the deadline.
        SchemaMissing: the table is not there.
    """
    patience = Patience(deadline_seconds, on_wait)
    todo = _Todo(statements)
    patience.call(lambda: _send(store, todo, in_flight, patience))


def prepared(store: Store, cql: str, patience: Patience) -> PreparedStatement:
    """The prepared statement, waiting for Cassandra where it has to be asked."""
    return patience.call(lambda: store.prepared(cql))


def grouped(statements: Bound) -> Iterator[Statement]:
    """Join the rows of one partition into unlogged batches of at most 20 rows and 20 KiB; lone rows stay as they are.

    Args:
        statements: (partition, bound insert) pairs, in any order; those of one partition keep theirs.
    """
    partitions: dict[Hashable, list[BoundStatement]] = {}
    for partition, statement in statements:
        partitions.setdefault(partition, []).append(statement)
    return chain.from_iterable(map(_batches, partitions.values()))


def bound(statement: PreparedStatement, rows: Iterable[tuple[Hashable, Sequence[object]]]) -> Bound:
    """Bind (partition, values) pairs to `statement`."""
    return ((partition, statement.bind(values)) for partition, values in rows)


def _batches(rows: list[BoundStatement]) -> Iterator[Statement]:
    start = size = 0
    for at, row in enumerate(rows):
        row_size = sum(len(value) for value in row.values if value)
        if at > start and (at - start == BATCH_ROWS or size + row_size > BATCH_BYTES):
            yield _joined(rows[start:at])
            start, size = at, 0
        size += row_size
    yield _joined(rows[start:])


def _joined(rows: list[BoundStatement]) -> Statement:
    if len(rows) == 1:
        return rows[0]
    batch = BatchStatement(BatchType.UNLOGGED)
    batch.is_idempotent = True
    for row in rows:
        batch.add(row)
    return batch


class _Todo:
    """Statements still to be written: those that failed, then those never sent."""

    def __init__(self, statements: Iterable[Statement]) -> None:
        self.failed: deque[Statement] = deque()
        self._rest = iter(statements)

    def __iter__(self) -> Iterator[Statement]:
        while self.failed:
            yield self.failed.popleft()
        yield from self._rest


class _Flight:
    """Statements sent and not yet answered. The answers arrive in the driver's thread."""

    def __init__(self, store: Store, in_flight: int) -> None:
        self.failures: list[tuple[Statement, Exception]] = []
        self._store = store
        self._size = in_flight
        self._room = threading.Semaphore(in_flight)

    def send(self, statement: Statement, timeout_seconds: float) -> None:
        """Send as soon as there is room."""
        self._room.acquire()
        try:
            future = self._store.session.execute_async(statement, timeout=timeout_seconds)
        except BaseException:
            self._room.release()
            raise
        future.add_callbacks(self._stored, self._failed, errback_args=(statement,))

    def land(self) -> None:
        """Wait for every answer; each has a timeout of its own."""
        for _ in range(self._size):
            self._room.acquire()

    def _stored(self, _rows: object) -> None:
        self._room.release()

    def _failed(self, error: Exception, statement: Statement) -> None:
        self.failures.append((statement, error))
        self._room.release()


def _send(store: Store, todo: _Todo, in_flight: int, patience: Patience) -> None:
    """Send what is to do; stop early once a whole window of statements has failed."""
    flight = _Flight(store, in_flight)
    for statement in todo:
        flight.send(statement, min(store.config.request_timeout_seconds, patience.remaining() + 1.0))
        if len(flight.failures) >= in_flight:
            break
    flight.land()
    todo.failed.extend(statement for statement, _ in flight.failures)
    for _, error in flight.failures:
        if not isinstance(error, RETRYABLE):
            raise translated(error, store.config.place) from error
    if flight.failures:
        _, error = flight.failures[0]
        raise StoreUnavailable(f"{len(flight.failures)} writes: {translated(error, store.config.place)}") from error
