"""Table `station_minutes`, written by columns: minutes in which every sensor has readings and a known band."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from core.times import cql_dates
from storage.driver.column_batches import Partitions, column_batches, ids_of, write_column_batches
from storage.driver.encoded_batches import Column, EncodedBatch, encode, fields, maps_of
from storage.driver.retry import OnWait
from storage.driver.session import Store
from storage.tables.minutes import INSERT


@dataclass(frozen=True)
class MinuteColumns:
    """Closed minutes. Arrays (n,) unless said otherwise.

    Args:
        stations: ids that occur, each once.
        station: index into `stations`.
        minute_ms: start, ms since the epoch.
        readings: of the station in the minute.
        names: of the sensors.
        minimum, mean, maximum: (n, n_sensors) in the sensors' units.
        count: (n, n_sensors) readings of the sensor.
        band: (n, n_sensors, 3) lower, typical, upper in the sensors' units, no NaN.
    """

    stations: Sequence[str]
    station: np.ndarray
    minute_ms: np.ndarray
    readings: np.ndarray
    names: Sequence[str]
    minimum: np.ndarray
    mean: np.ndarray
    maximum: np.ndarray
    count: np.ndarray
    band: np.ndarray


def write_minute_columns(
    store: Store, columns: MinuteColumns, deadline_seconds: float, on_wait: OnWait | None = None
) -> None:
    """Upsert closed minutes by station and minute.

    Raises:
        StoreUnavailable: some row is not known to be written at the deadline; all may be written again.
    """
    write_column_batches(store, INSERT, batches(store, columns), deadline_seconds, on_wait)


def batches(store: Store, columns: MinuteColumns) -> Iterator[EncodedBatch]:
    """Yield the batches that hold these minutes, each partition's rows side by side."""
    ids = [name.encode() for name in columns.stations]
    days = cql_dates(columns.minute_ms)

    def encoded(rows: np.ndarray) -> np.ndarray:
        sensors = [Column("raw", _sensor(columns, place, rows)) for place in range(len(columns.names))]
        ordered = [
            Column("raw", ids_of(ids, columns.station[rows])),
            Column("date", days[rows]),
            Column("timestamp", columns.minute_ms[rows]),
            Column("raw", maps_of(columns.names, sensors, len(rows))),
            Column("int", columns.readings[rows]),
        ]
        return encode(store.prepared(INSERT), ordered, len(rows))

    return column_batches(store, Partitions(ids, columns.station, "date", days, columns.minute_ms), encoded)


def _sensor(columns: MinuteColumns, place: int, rows: np.ndarray) -> np.ndarray:
    """A sensor's minutes as the type `sensor_minute`, field by field."""
    return fields(
        [
            Column("float", columns.minimum[rows, place]),
            Column("double", columns.mean[rows, place]),
            Column("float", columns.maximum[rows, place]),
            Column("int", columns.count[rows, place]),
            *(Column("float", edge) for edge in columns.band[rows, place].T),
        ],
        len(rows),
    )
