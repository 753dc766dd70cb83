"""Table `station_minutes`: how a station ran through a day, minute by minute."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from core.times import DAY_MS, cql_date, cql_dates, steps
from storage.driver.column_batches import Partitions, column_batches, ids_of, write_column_batches
from storage.driver.encoded_batches import Column, EncodedBatch, encode, fields, maps_of
from storage.driver.retry import DEADLINE_SECONDS, OnWait
from storage.driver.session import Store, statement
from storage.driver.writes import write_rows


class SensorMinute(NamedTuple):
    """One sensor in one minute; all but `readings` in the sensor's unit. The band is None while it is not known."""

    minimum: float
    mean: float
    maximum: float
    readings: int
    lower: float | None = None
    typical: float | None = None
    upper: float | None = None


class MinuteRow(NamedTuple):
    """One closed minute of a station; `minute_ms` is its start, `readings` counts those with any value or none."""

    station_id: str
    minute_ms: int
    sensors: dict[str, SensorMinute]
    readings: int


INSERT = statement("INSERT INTO station_minutes (station_id, day, minute, sensors, readings) VALUES (?, ?, ?, ?, ?)")
SELECT = statement("""
SELECT station_id, toUnixTimestamp(minute), sensors, readings FROM station_minutes
WHERE station_id = ? AND day = ? AND minute >= ? AND minute < ? ORDER BY minute ASC""")


def write_minutes(
    store: Store, rows: Iterable[MinuteRow], deadline_seconds: float = DEADLINE_SECONDS, on_wait: OnWait | None = None
) -> None:
    """Upsert closed minutes by station and minute.

    Raises:
        StoreUnavailable: some row is not known to be written at the deadline; all may be written again.
    """
    write_rows(store, INSERT, map(_keyed, rows), deadline_seconds, on_wait)


def minutes_of(store: Store, station_id: str, start_ms: int, end_ms: int) -> Iterator[MinuteRow]:
    """Yield a station's closed minutes that start in [start_ms, end_ms), oldest first."""
    for day in steps(start_ms, end_ms, DAY_MS):
        for _, minute_ms, sensors, readings in store.rows(SELECT, (station_id, cql_date(day), start_ms, end_ms)):
            yield MinuteRow(station_id, minute_ms, as_minutes(sensors), readings)


def _keyed(row: MinuteRow) -> tuple[tuple[str, int], tuple[object, ...]]:
    day = cql_date(row.minute_ms)
    return (row.station_id, day), (row.station_id, day, *row[1:])


def as_minutes(stored: Mapping[str, tuple[object, ...]] | None) -> dict[str, SensorMinute]:
    """The driver's map of user-defined types as plain Python."""
    return {name: SensorMinute._make(held) for name, held in (stored or {}).items()}


def epoch_ms(time: datetime) -> int:
    """Milliseconds since the epoch of the driver's naive UTC datetime."""
    return round(time.replace(tzinfo=UTC).timestamp() * 1000)


@dataclass(frozen=True)
class MinuteColumns:
    """Closed minutes in which every sensor has readings and a known band. Arrays (n,) unless said otherwise.

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
