"""Rows that are given as columns, cut into batches: partitions whose rows have one layout are encoded together."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from storage.driver.encoded_batches import Column, EncodedBatch, EncodedRows, cut, fields, routing_key
from storage.driver.retry import OnWait, Patience
from storage.driver.session import Store
from storage.driver.writes import write_all

# A batch of one partition is one mutation; it must stay far below the commit log's 16 MiB.
MOST_ROWS = 500
# Of a batch over several partitions: Cassandra warns from 5 KiB and 10 partitions on.
FEW_ROWS, MOST_PARTITIONS, SHARED_BYTES = 20, 10, 4 * 1024
# What Cassandra counts of a row beside what is sent, about.
CELL_BYTES = 8
_LENGTH_BYTES = 4


@dataclass(frozen=True)
class Partitions:
    """Where rows belong: the partition key is a station's id and a time.

    Args:
        ids: of the stations that occur, each once.
        station: (n,) index into `ids`.
        cql: type of the time in the key, see `encoded.FIXED`.
        time: (n,) int64 as that type is bound.
        order: (n,) rows of a partition are written in this order.
    """

    ids: Sequence[bytes]
    station: np.ndarray
    cql: str
    time: np.ndarray
    order: np.ndarray


def column_batches(
    store: Store, parts: Partitions, encoded: Callable[[np.ndarray], np.ndarray]
) -> Iterator[EncodedBatch]:
    """Yield the batches that hold all rows, each partition's rows side by side.

    Args:
        store: knows which nodes hold a partition.
        parts: of the rows.
        encoded: bytes of the rows with these numbers, whose ids are equally long; (m,) → (m, bytes of a row) uint8.
    """
    if not len(parts.station):
        return
    order = np.lexsort((parts.order, parts.time, parts.station))
    station, time = parts.station[order], parts.time[order]
    starts = np.flatnonzero(np.r_[True, (np.diff(station) != 0) | (np.diff(time) != 0)])
    ends = np.r_[starts[1:], len(order)]
    times = fields([Column(parts.cql, time[starts])], len(starts))[:, _LENGTH_BYTES:]
    ids = [parts.ids[code] for code in station[starts].tolist()]
    keys = [routing_key((name, cell.tobytes())) for name, cell in zip(ids, times, strict=True)]
    for chosen in _alike([len(name) for name in ids], store, keys):
        sizes = ends[chosen] - starts[chosen]
        rows = np.concatenate([np.arange(start, end) for start, end in zip(starts[chosen], ends[chosen], strict=True)])
        data = encoded(order[rows])
        begun = np.cumsum(sizes) - sizes
        key_of = dict(zip(begun.tolist(), chosen.tolist(), strict=True))
        few = max(1, min(FEW_ROWS, SHARED_BYTES // (data.shape[1] + CELL_BYTES)))
        held, width = data.tobytes(), data.shape[1]
        at = 0
        for start, end in cut(begun, len(rows), MOST_ROWS, few, MOST_PARTITIONS):
            at = key_of.get(start, at)
            yield EncodedBatch(
                EncodedRows(end - start, held[start * width : end * width]), keys[at], store.config.keyspace
            )


def write_column_batches(
    store: Store, insert: str, batches: Iterator[EncodedBatch], deadline_seconds: float, on_wait: OnWait | None
) -> None:
    """Write the batches of one insert statement.

    Raises:
        StoreUnavailable: some row is not known to be written at the deadline; all may be written again.
    """
    patience = Patience(deadline_seconds, on_wait)
    # Before the first batch is made, where waiting would end the generator.
    patience.call(store.prepared, insert)
    write_all(store, batches, patience.remaining(), on_wait)


def ids_of(ids: Sequence[bytes], station: np.ndarray) -> np.ndarray:
    """The ids of rows whose ids are equally long, (n, bytes) uint8.

    Args:
        ids: of all stations.
        station: (n,) index into `ids`; at least one.
    """
    length = len(ids[int(station[0])])
    table = np.frombuffer(b"".join(name if len(name) == length else bytes(length) for name in ids), np.uint8)
    return table.reshape(-1, length)[station]


def _alike(lengths: Sequence[int], store: Store, keys: Sequence[bytes]) -> Iterator[np.ndarray]:
    """Group partitions whose ids are equally long and whose rows lie on the same nodes."""
    groups: dict[tuple[int, Hashable], list[int]] = {}
    for at, (length, key) in enumerate(zip(lengths, keys, strict=True)):
        groups.setdefault((length, store.replicas_of_key(key)), []).append(at)
    for members in groups.values():
        yield np.array(members)
