"""Encoded batches are, byte for byte, what the driver would send for the same rows, and hold every row once."""

from __future__ import annotations

import io

import numpy as np
from cassandra.protocol import BatchMessage
from cassandra.query import BatchStatement, BatchType, BoundStatement, PreparedStatement
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.driver.encoded_batches import EncodedBatch, EncodedRowsHandler, cut
from storage.driver.session import StoreConfig
from storage.tables.readings import BUCKET_MS, ReadingColumns, batches
from tests.unit.models.readings_table import prepared_readings

NAMES = ("temperature", "humidity")


class Store:
    """What the batches are told by a store; `nodes` makes the last digit of the bucket's bytes decide the replicas."""

    config = StoreConfig(keyspace="k")

    def __init__(self, nodes: int) -> None:
        self.nodes = nodes
        self.statement = prepared_readings()

    def prepared(self, _: str) -> PreparedStatement:
        return self.statement

    def replicas_of_key(self, routing_key: bytes) -> int:
        return sum(routing_key) % self.nodes


_ROW = st.tuples(
    st.sampled_from(["a", "b", "station-1", "station-2"]),
    st.integers(0, 3 * BUCKET_MS),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.floats(allow_nan=False),
    st.floats(width=32, allow_nan=False),
    st.integers(-(2**31), 2**31 - 1),
)


def columns_of(rows: list[tuple[str, int, int, float, float, float, int]]) -> ReadingColumns:
    stations = sorted({row[0] for row in rows})
    ids, event_ms, seq, first, second, severity, flags = zip(*rows, strict=True)
    numbers = np.arange(len(rows))
    return ReadingColumns(
        stations, np.array([stations.index(name) for name in ids]), np.array(event_ms, np.int64),
        np.array(seq, np.int64), NAMES, np.array([first, second], np.float64).T, np.array(second, np.float64),
        np.array(severity, np.float32), np.array(flags, np.int32), numbers, numbers % 4, numbers,
        np.array(event_ms, np.int64) + 5, 77,
    )  # fmt: skip


def as_bound(statement: PreparedStatement, columns: ReadingColumns, row: int) -> BoundStatement:
    event_ms = int(columns.event_ms[row])
    sensors = dict(zip(NAMES, columns.values[row].tolist(), strict=True))
    numbers = (columns.score, columns.severity)
    integers = (columns.flags, columns.version, columns.partition, columns.offset, columns.record_ms)
    return statement.bind(
        (
            columns.stations[columns.station[row]], event_ms - event_ms % BUCKET_MS, event_ms, int(columns.seq[row]),
            sensors, *(float(column[row]) for column in numbers), *(int(column[row]) for column in integers), 77,
        )
    )  # fmt: skip


def message(statement: BatchStatement) -> BatchMessage:
    return BatchMessage(statement.batch_type, statement._statements_and_parameters, 6, 9, 1234, None)


def sent(statement: BatchStatement) -> bytes:
    return EncodedRowsHandler.encode_message(message(statement), 3, 4, None, False)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_ROW, min_size=1, max_size=60), st.integers(1, 3))
def test_batches_equal_those_of_the_driver(rows: list[tuple[str, int, int, float, float, float, int]], n: int) -> None:
    """Breaks when a row would be written otherwise than it was judged, or written twice, or not at all."""
    store, columns = Store(n), columns_of(rows)
    bound = [as_bound(store.statement, columns, row) for row in range(len(rows))]
    by_bytes = {}
    for one in bound:
        by_bytes[one.values[0], *one.values[1:4], one.values[10]] = one
    seen = 0
    for batch in batches(store, columns):  # type: ignore[arg-type]
        assert isinstance(batch, EncodedBatch)
        assert len(batch) == batch._statements_and_parameters.count  # the driver asks whether it is empty
        expected = BatchStatement(BatchType.UNLOGGED)
        found = decoded(batch)
        for values in found:
            expected.add(by_bytes[values[0], *values[1:4], values[10]])
        assert sent(batch) == sent(expected)
        assert batch.routing_key == by_bytes[found[0][0], *found[0][1:4], found[0][10]].routing_key
        assert len({store.replicas_of_key(by_bytes[v[0], *v[1:4], v[10]].routing_key) for v in found}) == 1
        seen += len(found)
    assert seen == len(rows)


def decoded(batch: EncodedBatch) -> list[tuple[bytes, ...]]:
    """Read a batch's rows by the rules of the protocol, knowing nothing of how they were made."""
    data = io.BytesIO(batch._statements_and_parameters.data)
    rows = []
    for _ in range(batch._statements_and_parameters.count):
        assert data.read(1) == b"\x01"
        assert data.read(int.from_bytes(data.read(2), "big")) == b"id"
        count = int.from_bytes(data.read(2), "big")
        rows.append(tuple(data.read(int.from_bytes(data.read(4), "big")) for _ in range(count)))
    assert not data.read()
    return rows


@settings(deadline=None)
@given(st.lists(st.integers(1, 70), min_size=1, max_size=30))
def test_small_partitions_share_batches_within_the_limits_and_large_ones_do_not(sizes: list[int]) -> None:
    """Breaks when Cassandra would warn of a batch, or a row fell between two batches."""
    starts = np.cumsum(sizes) - np.array(sizes, int)
    found = cut(np.array(starts, int), sum(sizes), 50, 20, 10)
    assert [at for start, end in found for at in range(start, end)] == list(range(sum(sizes)))
    for start, end in found:
        inside = [size for at, size in zip(starts.tolist(), sizes, strict=True) if at < end and at + size > start]
        assert end - start <= (50 if len(inside) == 1 else 20)
        assert len(inside) <= 10
