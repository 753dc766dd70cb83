"""Table `readings`, written by columns: the way for all readings of a batch, a fourth of the cost of row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from storage.driver.column_batches import Partitions, column_batches, ids_of, write_column_batches
from storage.driver.encoded_batches import Column, EncodedBatch, encode, maps_of
from storage.driver.retry import OnWait
from storage.driver.session import Store
from storage.tables.readings import BUCKET_MS, INSERT


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
    write_column_batches(store, INSERT, batches(store, columns), deadline_seconds, on_wait)


def batches(store: Store, columns: ReadingColumns) -> Iterator[EncodedBatch]:
    """Yield the batches that hold these readings, each partition's rows side by side."""
    ids = [name.encode() for name in columns.stations]
    bucket = columns.event_ms - columns.event_ms % BUCKET_MS

    def encoded(rows: np.ndarray) -> np.ndarray:
        values = [Column("double", column) for column in columns.values[rows].T]
        ordered = [
            Column("raw", ids_of(ids, columns.station[rows])),
            Column("timestamp", bucket[rows]),
            Column("timestamp", columns.event_ms[rows]),
            Column("bigint", columns.seq[rows]),
            Column("raw", maps_of(columns.names, values, len(rows))),
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

    parts = Partitions(ids, columns.station, "timestamp", bucket, columns.event_ms)
    return column_batches(store, parts, encoded)
