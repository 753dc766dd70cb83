"""Batches whose rows are bytes already: what many equal rows cost the driver is paid by numpy once.

The driver packs each value of each row in Python. Rows of one table whose values all have a fixed size differ in their
digits only, so that an array of records *is* the body of a batch. It goes through the driver's public hook for own
protocol handlers; connections, routing, timeouts and retries stay the driver's.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from cassandra.protocol import BatchMessage, ProtocolHandler
from cassandra.query import BatchStatement, BatchType, PreparedStatement

_BATCH_HEAD_BYTES = 3  # type, and the number of statements as a short
_PREPARED = 1
# CQL types as numpy's, all big endian.
FIXED = {"bigint": ">i8", "timestamp": ">i8", "date": ">u4", "int": ">i4", "double": ">f8", "float": ">f4"}


@dataclass(frozen=True)
class EncodedRows:
    """Rows of one insert statement as they travel.

    Args:
        count: how many, at most 65,535.
        data: all of them, one behind the other.
    """

    count: int
    data: bytes

    def __len__(self) -> int:
        return self.count


class EncodedBatch(BatchStatement):
    """An unlogged batch of encoded rows; idempotent, as every write here.

    Args:
        rows: to be written.
        routing_key: of the partition of the first row.
        keyspace: of the table.
    """

    def __init__(self, rows: EncodedRows, routing_key: bytes, keyspace: str) -> None:
        super().__init__(BatchType.UNLOGGED)
        self.is_idempotent = True
        # What the driver hands to its BatchMessage as it is.
        self._statements_and_parameters = rows
        self._routing_key, self.keyspace = routing_key, keyspace


class _EncodedMessage(BatchMessage):  # type: ignore[misc]
    queries: Any

    def __init__(self, message: BatchMessage) -> None:
        self.__dict__.update(message.__dict__)

    def send_body(self, f: Any, protocol_version: int) -> None:
        rows = self.queries
        tail = io.BytesIO()
        self.queries = ()
        super().send_body(tail, protocol_version)
        self.queries = rows
        f.write(bytes([self.batch_type.value]) + rows.count.to_bytes(2, "big"))
        f.write(rows.data)
        f.write(tail.getvalue()[_BATCH_HEAD_BYTES:])


class EncodedRowsHandler(ProtocolHandler):  # type: ignore[misc]
    """The driver's protocol handler, which knows encoded batches as well."""

    @classmethod
    def encode_message(cls, msg: Any, *args: Any, **kwargs: Any) -> bytes:
        """Encode any message of the driver."""
        if isinstance(msg, BatchMessage) and isinstance(msg.queries, EncodedRows):
            msg = _EncodedMessage(msg)
        return super().encode_message(msg, *args, **kwargs)


@dataclass(frozen=True)
class Column:
    """A column of rows to encode.

    Args:
        cql: one of `FIXED`, or `raw`: bytes of one length, the same for all rows.
        values: (n,) of that type, or (n, bytes) uint8, or for `raw` also one `bytes` for all.
    """

    cql: str
    values: np.ndarray | bytes


def encode(prepared: PreparedStatement, columns: Sequence[Column], n: int) -> np.ndarray:
    """Encode n rows of an insert statement.

    Args:
        prepared: the statement, one column after the other as in its text.
        columns: as many as it takes.
        n: rows.

    Returns:
        (n, bytes of a row) uint8, contiguous.

    Raises:
        ValueError: another number of columns than the statement takes.
    """
    if len(columns) != len(prepared.column_metadata):
        raise ValueError(f"{len(columns)} columns for {len(prepared.column_metadata)} of {prepared.query_string}")
    query_id = prepared.query_id
    head = bytes([_PREPARED]) + len(query_id).to_bytes(2, "big") + query_id + len(columns).to_bytes(2, "big")
    return np.concatenate([_repeated(head, n), fields(columns, n)], axis=1)


def fields(columns: Sequence[Column], n: int) -> np.ndarray:
    """Encode n times these values, each with its length before it: of a row, or of a user-defined type.

    Returns:
        (n, bytes) uint8.
    """
    parts: list[np.ndarray] = []
    for column in columns:
        cells = _cells(column, n)
        parts += [_repeated(cells.shape[1].to_bytes(4, "big"), n), cells]
    return np.concatenate(parts, axis=1)


def maps_of(names: Sequence[str], values: Sequence[Column], n: int) -> np.ndarray:
    """Encode n maps from text that all have the same keys.

    Args:
        names: the keys, in the order in which they shall stand.
        values: of each key.
        n: maps.

    Returns:
        (n, bytes) uint8.
    """
    parts = [_repeated(len(names).to_bytes(4, "big"), n)]
    for name, column in zip(names, values, strict=True):
        parts.append(fields([Column("raw", name.encode()), column], n))
    return np.concatenate(parts, axis=1)


def _cells(column: Column, n: int) -> np.ndarray:
    values = column.values
    if isinstance(values, bytes):
        return _repeated(values, n)
    if values.ndim == 2:
        return values
    return np.ascontiguousarray(values, FIXED[column.cql]).view(np.uint8).reshape(n, -1)


def _repeated(data: bytes, n: int) -> np.ndarray:
    return np.broadcast_to(np.frombuffer(data, np.uint8), (n, len(data)))


def routing_key(parts: Sequence[bytes]) -> bytes:
    """Return the routing key of a partition key of several columns."""
    return b"".join(len(part).to_bytes(2, "big") + part + b"\0" for part in parts)


def cut(starts: np.ndarray, n: int, most_rows: int, few_rows: int, most_partitions: int) -> list[tuple[int, int]]:
    """Cut rows, sorted by partition, into batches.

    A partition of more than `few_rows` makes batches of its own, which Cassandra applies as one mutation however large.
    Smaller ones share a batch of at most `few_rows` rows and `most_partitions` partitions: above that Cassandra warns.

    Args:
        starts: (p,) first row of each partition, ascending from 0; at least one.
        n: rows.
        most_rows: of a batch of one partition.
        few_rows: of a batch of several.
        most_partitions: of a batch of several.

    Returns:
        (start, end) of each batch.
    """
    batches: list[tuple[int, int]] = []
    begun, partitions = 0, 0
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), n], strict=True):
        alone = end - start > few_rows
        if partitions and (alone or partitions == most_partitions or end - begun > few_rows):
            batches.append((begun, start))
            partitions = 0
        if alone:
            batches += [(at, min(at + most_rows, end)) for at in range(start, end, most_rows)]
            continue
        begun = begun if partitions else start
        partitions += 1
    if partitions:
        batches.append((begun, n))
    return batches
