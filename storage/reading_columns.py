"""Table `readings`, written by columns: the way for all readings of a batch, a fourth of the cost of row by row."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from storage.encoded import Column, EncodedBatch, EncodedRows, cut, encode, maps_of, routing_key
from storage.readings import BUCKET_MS, INSERT
from storage.retries import OnWait, Patience
from storage.session import Store
from storage.writes import write_all

# A batch of one partition is one mutation; it must stay far below the commit log's 16 MiB.
MOST_ROWS = 500
# Of a batch over several partitions: Cassandra warns from 5 KiB and 10 partitions on.
FEW_ROWS, MOST_PARTITIONS, SHARED_BYTES = 20, 10, 4 * 1024
# What Cassandra keeps beside the value of each of a row's columns.
CELL_BYTES = 8


@dataclass(frozen=True)
class ReadingColumns:
    """Judged readings, all sensors measured. Arrays (n,); times in ms since the epoch.

    Args:
        stations: ids that occur, each once.
        station: index into `stations`.
        event_ms, seq: identity beside the station.
        names: of the sensors.
        values: (n, n_sensors) float64 in the sensors' units, no NaN.
        score, severity, flags, version: of the verdict.
        partition, offset, record_ms: of the Kafka record.
        scored_ms: of all of them.
    """

    stations: Sequence[str]
    station: np.ndarray
    event_ms: np.ndarray
    seq: np.ndarray
    names: Sequence[str]
    values: np.ndarray
    score: np.ndarray
    severity: np.ndarray
    flags: np.ndarray
    version: np.ndarray
    partition: np.ndarray
    offset: np.ndarray
    record_ms: np.ndarray
    scored_ms: int


def write_reading_columns(
    store: Store, columns: ReadingColumns, deadline_seconds: float, on_wait: OnWait | None = None
) -> None:
    """Upsert readings by identity.

    Raises:
        StoreUnavailable: some row is not known to be written at the deadline; all may be written again.
    """
    patience = Patience(deadline_seconds, on_wait)
    patience.call(store.prepared, INSERT)
    write_all(store, batches(store, columns), patience.remaining(), on_wait)


def batches(store: Store, columns: ReadingColumns) -> Iterator[EncodedBatch]:
    """Yield the batches that hold these readings, each partition's rows side by side."""
    if not len(columns.station):
        return
    bucket = columns.event_ms - columns.event_ms % BUCKET_MS
    ids = [name.encode() for name in columns.stations]
    order = np.lexsort((columns.event_ms, bucket, columns.station))
    station, bucket = columns.station[order], bucket[order]
    starts = np.flatnonzero(np.r_[True, (np.diff(station) != 0) | (np.diff(bucket) != 0)])
    keys = [
        routing_key((ids[code], int(start).to_bytes(8, "big", signed=True)))
        for code, start in zip(station[starts].tolist(), bucket[starts].tolist(), strict=True)
    ]
    ends = np.r_[starts[1:], len(order)]
    for chosen in _alike([len(ids[code]) for code in station[starts].tolist()], store, keys):
        sizes = ends[chosen] - starts[chosen]
        rows = np.concatenate([np.arange(start, end) for start, end in zip(starts[chosen], ends[chosen], strict=True)])
        data = _encoded(store, columns, order[rows], ids)
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


def _alike(lengths: Sequence[int], store: Store, keys: Sequence[bytes]) -> Iterator[np.ndarray]:
    """Group partitions whose ids are equally long and whose rows lie on the same nodes."""
    groups: dict[tuple[int, Hashable], list[int]] = {}
    for at, (length, key) in enumerate(zip(lengths, keys, strict=True)):
        groups.setdefault((length, store.replicas_of_key(key)), []).append(at)
    for members in groups.values():
        yield np.array(members)


def _encoded(store: Store, columns: ReadingColumns, rows: np.ndarray, ids: Sequence[bytes]) -> np.ndarray:
    """Encode rows whose ids are equally long; the columns stand as in `readings.INSERT`."""
    length = len(ids[int(columns.station[rows[0]])])
    names = np.frombuffer(b"".join(name if len(name) == length else bytes(length) for name in ids), np.uint8)
    event_ms = columns.event_ms[rows]
    ordered: list[Column] = [
        Column("raw", names.reshape(-1, length)[columns.station[rows]]),
        Column("timestamp", event_ms - event_ms % BUCKET_MS),
        Column("timestamp", event_ms),
        Column("bigint", columns.seq[rows]),
        Column("raw", maps_of(columns.names, columns.values[rows])),
        Column("double", columns.score[rows]),
        Column("float", columns.severity[rows]),
        Column("int", columns.flags[rows]),
        Column("int", columns.version[rows]),
        Column("int", columns.partition[rows]),
        Column("bigint", columns.offset[rows]),
        Column("timestamp", columns.record_ms[rows]),
        Column("raw", columns.scored_ms.to_bytes(8, "big", signed=True)),
    ]
    return encode(store.prepared(INSERT), ordered, len(rows))
