"""Table `station_minutes`: how a station ran through a day, minute by minute."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from core.times import DAY_MS, cql_date, steps
from storage.driver.retry import DEADLINE_SECONDS, OnWait
from storage.driver.session import Store
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


INSERT = "INSERT INTO station_minutes (station_id, day, minute, sensors, readings) VALUES (?, ?, ?, ?, ?)"
SELECT = """
SELECT station_id, toUnixTimestamp(minute), sensors, readings FROM station_minutes
WHERE station_id = ? AND day = ? AND minute >= ? AND minute < ? ORDER BY minute ASC"""


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
