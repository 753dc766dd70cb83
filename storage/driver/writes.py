"""Writing many rows: bounded in flight, repeated until they are in or the deadline has passed."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

from cassandra.query import BatchStatement, BatchType, BoundStatement, Statement

from core.errors import StationwatchError, StoreUnavailable
from storage.driver.cql_encoding import binder
from storage.driver.retry import DEADLINE_SECONDS, RETRYABLE, OnWait, Patience, translated
from storage.driver.session import Store

IN_FLIGHT = 64
BATCH_ROWS = 20
BATCH_BYTES = 20 * 1024
# Cassandra warns of batches over several partitions from 10 of them, or 5 KiB, and refuses them from 50 KiB.
MERGED_PARTITIONS = 10
MERGED_BYTES = 4 * 1024
CELL_BYTES = 16
UNANSWERED_SECONDS = 60.0

KeyedRows = Iterable[tuple[Hashable, Sequence[object]]]


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
    patience.call(_send, store, todo, in_flight, patience)


def write_rows(
    store: Store, insert: str, rows: KeyedRows, deadline_seconds: float, on_wait: OnWait | None = None
) -> None:
    """Write (partition, values) rows with one insert statement, in batches."""
    patience = Patience(deadline_seconds, on_wait)
    write_all(store, batches_of(store, insert, rows, patience), patience.remaining(), on_wait)


def batches_of(store: Store, insert: str, rows: KeyedRows, patience: Patience) -> Iterator[Statement]:
    """Bind (partition, values) rows to one insert statement and join them into batches."""
    bind = binder(patience.call(store.prepared, insert))
    partitions: dict[Hashable, list[BoundStatement]] = {}
    for partition, values in rows:
        partitions.setdefault(partition, []).append(bind(values))
    return grouped(partitions.values(), store.replicas_of)


def grouped(
    partitions: Iterable[list[BoundStatement]], replicas_of: Callable[[BoundStatement], Hashable]
) -> Iterator[Statement]:
    """Join rows into unlogged batches.

    First at most 20 rows and 20 KiB of one partition. What is left of each partition is joined with leftovers on the
    same replicas, at most 10 partitions and 4 KiB: above that Cassandra warns. For many stations with one reading
    each this takes a third of the processor time of single inserts.

    Args:
        partitions: the rows of each, never empty.
        replicas_of: which nodes hold a row.
    """
    leftovers: dict[Hashable, list[list[BoundStatement]]] = {}
    for rows in partitions:
        *whole, rest = _cut(rows)
        yield from map(_joined, whole)
        leftovers.setdefault(replicas_of(rest[0]), []).append(rest)
    for pieces in leftovers.values():
        yield from map(_joined, _merged(pieces))


def _cut(rows: list[BoundStatement]) -> Iterator[list[BoundStatement]]:
    """Cut the rows of one partition into lists that fit a batch."""
    start = size = 0
    for at, row in enumerate(rows):
        row_size = _size(row)
        if at > start and (at - start == BATCH_ROWS or size + row_size > BATCH_BYTES):
            yield rows[start:at]
            start, size = at, 0
        size += row_size
    yield rows[start:]


def _merged(pieces: list[list[BoundStatement]]) -> Iterator[list[BoundStatement]]:
    """Merge lists of different partitions while they fit a batch together."""
    held: list[BoundStatement] = []
    partitions = size = 0
    for piece in pieces:
        piece_size = sum(map(_size, piece))
        full = partitions == MERGED_PARTITIONS or len(held) + len(piece) > BATCH_ROWS
        if held and (full or size + piece_size > MERGED_BYTES):
            yield held
            held, partitions, size = [], 0, 0
        held = held + piece
        partitions, size = partitions + 1, size + piece_size
    if held:
        yield held


def _size(row: BoundStatement) -> int:
    """Bytes of a row as Cassandra counts them, roughly: values, and what it keeps beside each."""
    return sum(len(value) + CELL_BYTES for value in row.values if value)


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
        # Not `yield from`: leaving the loop would close the generator behind it, and lose what it had still to give.
        for statement in self._rest:  # noqa: UP028
            yield statement


class _Flight:
    """Statements sent and not yet answered. The answers arrive in the driver's thread."""

    def __init__(self, store: Store, in_flight: int) -> None:
        self.failures: list[tuple[Statement, Exception]] = []
        self.failures_in_a_row = 0
        self._store = store
        self._size = in_flight
        self._room = threading.Semaphore(in_flight)

    def send(self, statement: Statement, timeout_seconds: float) -> None:
        """Send as soon as there is room."""
        self._take_room()
        try:
            future = self._store.session.execute_async(statement, timeout=timeout_seconds)
        except RETRYABLE as error:
            self._failed(error, statement)
        else:
            future.add_callbacks(self._stored, self._failed, errback_args=(statement,))

    def land(self) -> None:
        """Wait for every answer; each has a timeout of its own."""
        for _ in range(self._size):
            self._take_room()

    def _take_room(self) -> None:
        # The driver answers every statement by its timeout. Were its thread dead, waiting here would never end.
        if not self._room.acquire(timeout=self._store.config.request_timeout_seconds + UNANSWERED_SECONDS):
            raise StationwatchError(
                f"the driver of {self._store.config.place} gave no answer; start this process again"
            )

    def _stored(self, _rows: object) -> None:
        self.failures_in_a_row = 0
        self._room.release()

    def _failed(self, error: Exception, statement: Statement) -> None:
        self.failures.append((statement, error))
        self.failures_in_a_row += 1
        self._room.release()


def _send(store: Store, todo: _Todo, in_flight: int, patience: Patience) -> None:
    """Send what is to do; pause early once a whole window of statements has failed without a success between."""
    flight = _Flight(store, in_flight)
    for statement in todo:
        flight.send(statement, min(store.config.request_timeout_seconds, patience.remaining() + 1.0))
        if flight.failures_in_a_row >= in_flight:
            break
    flight.land()
    todo.failed.extend(statement for statement, _ in flight.failures)
    for _, error in flight.failures:
        if not isinstance(error, RETRYABLE):
            raise translated(error, store.config.place) from error
    if flight.failures:
        _, error = flight.failures[0]
        raise StoreUnavailable(f"{len(flight.failures)} writes: {translated(error, store.config.place)}") from error
