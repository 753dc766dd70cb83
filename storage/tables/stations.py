"""Table `stations`: which stations there are, when each was last seen, what its open minutes hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple
from zlib import crc32

from core.errors import NotFound
from storage.driver.cql_encoding import plain_map
from storage.driver.retry import DEADLINE_SECONDS, OnWait
from storage.driver.session import Store, statement
from storage.driver.writes import write_rows
from storage.tables.minutes import SensorMinute, as_minutes, epoch_ms

STATION_SLOTS = 16


class StationRow(NamedTuple):
    """A station as its state last saw it. Times in ms since the epoch.

    `clock_ms` is the station's event time, never ahead of its record time by more than 30 s; `open_minutes` maps
    the start of a minute to what each sensor measured in it so far; it is empty where it was not read (lists).
    """

    station_id: str
    clock_ms: int
    last_record_ms: int
    readings: int
    typical_interval_seconds: float | None
    sensors: dict[str, float]
    open_minutes: dict[int, dict[str, SensorMinute]]


class Heard(NamedTuple):
    """When a station was last heard, by the record time of its reading number `readings`, ms since the epoch."""

    station_id: str
    last_record_ms: int
    readings: int
    typical_interval_seconds: float | None


INSERT = statement("""
INSERT INTO stations (slot, station_id, clock, last_record_time, readings, typical_interval_seconds, sensors,
    open_minutes)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)""")

# Lists leave the open minutes out: to decode them costs twenty times as much as all the rest.
_SEEN = """
SELECT station_id, toUnixTimestamp(clock), toUnixTimestamp(last_record_time), readings, typical_interval_seconds,
    sensors"""
_OF_SLOT = " FROM stations WHERE slot = ?"
SELECT_SLOT = statement(_SEEN + _OF_SLOT)
SELECT_AFTER = statement(SELECT_SLOT + " AND station_id > ? LIMIT ?")
SELECT_ONE = statement(_SEEN + ", open_minutes" + _OF_SLOT + " AND station_id = ?")
SELECT_HEARD = statement("""
SELECT station_id, toUnixTimestamp(last_record_time), readings, typical_interval_seconds
FROM stations WHERE slot = ?""")


def station_slot(station_id: str) -> int:
    """Partition of `stations` that holds this station, 0..15."""
    return crc32(station_id.encode()) % STATION_SLOTS


def write_stations(
    store: Store, rows: Iterable[StationRow], deadline_seconds: float = DEADLINE_SECONDS, on_wait: OnWait | None = None
) -> None:
    """Overwrite the rows of these stations.

    Raises:
        StoreUnavailable: some row is not known to be written at the deadline; all may be written again.
    """
    keyed = ((station_slot(row.station_id), (station_slot(row.station_id), *row)) for row in rows)
    write_rows(store, INSERT, keyed, deadline_seconds, on_wait)


def stations(store: Store) -> list[StationRow]:
    """Every station without its open minutes, by slot and then by id."""
    slots = store.rows_of_all(SELECT_SLOT, [(slot,) for slot in range(STATION_SLOTS)])
    return [_seen(row) for rows in slots for row in rows]


def heard(store: Store) -> Iterator[Heard]:
    """Yield when each station was last heard, by slot."""
    for slot in range(STATION_SLOTS):
        yield from map(Heard._make, store.rows(SELECT_HEARD, (slot,)))


def stations_page(store: Store, after_id: str, limit: int) -> tuple[list[StationRow], str | None]:
    """Stations by id, behind `after_id` (empty for the first), without their open minutes.

    Each slot is asked for about its share of the page; a slot that holds more of the next ids makes the page short.

    Returns:
        At most `limit` stations, and the id to go on behind; None at the end.
    """
    share = 8 + -(-3 * limit // (2 * STATION_SLOTS))
    found = store.rows_of_all(SELECT_AFTER, [(slot, after_id, share) for slot in range(STATION_SLOTS)])
    known = min((rows[-1][0] for rows in found if len(rows) == share), default=None)
    rows = sorted((row for rows in found for row in rows), key=lambda row: row[0])
    met = [row for row in rows if known is None or row[0] <= known]
    page = [_seen(row) for row in met[:limit]]
    return page, page[-1].station_id if known is not None or len(met) > limit else None


def station(store: Store, station_id: str) -> StationRow:
    """One station.

    Raises:
        NotFound: no reading of it was ever accepted.
    """
    row = store.one(SELECT_ONE, (station_slot(station_id), station_id))
    if row is None:
        raise NotFound(f"station {station_id!r}")
    *seen, open_minutes = row
    minutes = {epoch_ms(minute): as_minutes(held) for minute, held in (open_minutes or {}).items()}
    return _seen(seen)._replace(open_minutes=minutes)


def _seen(row: Sequence[Any]) -> StationRow:
    *plain, sensors = row
    return StationRow._make((*plain, plain_map(sensors), {}))
