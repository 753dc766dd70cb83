"""Walks through stored anomalies, newest first: resumable at any place, a bounded number of partitions at a time.

A walk is over the rows that are there when it passes. What arrives behind its place is met later, what arrives before
it is not met at all: neither hides another row, nor shows one twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any, Generic, NamedTuple, TypeVar

from core.times import DAY_MS, HOUR_MS, cql_date, floored, year_of
from storage.driver.session import Statement, Store, statement
from storage.tables.anomalies import FOUND_COLUMNS, SELECT_HOURS, TIME_SLOTS, AnomalyRow, found_row, time_slot
from storage.tables.marks import (
    MARK_COLUMNS,
    Mark,
    whole_of_plant,
    whole_of_station,
)

Item = TypeVar("Item")
LEAST_SEQ = -(2**63)
FEWEST_ROWS = 16
MOST_ROWS_GROWN_TO = 128
LEAST_MARKS = 512
"""Marks cost little and most may not be kept: asking once for many is cheaper than asking often for few."""
MOST_HOURS_AT_ONCE = 16
MOST_DAYS_AT_ONCE = 8


class Place(NamedTuple):
    """Where a walk stands.

    Left are the rows with event_time < event_ms; with a `station_id` also those of that very millisecond which come
    after (station_id, seq): further stations, and smaller seq of the same one.
    """

    event_ms: int
    station_id: str | None = None
    seq: int = LEAST_SEQ


Row = TypeVar("Row", bound=AnomalyRow | Mark)
Keep = Callable[[float], bool]


class Stretch(NamedTuple, Generic[Row]):
    """A piece of a walk: rows in order, without blocks, and where it stands after them.

    `looked_at` counts the rows that were read, kept or not; `partitions` those they were read from.
    """

    rows: list[Row]
    place: Place
    partitions: int
    looked_at: int


class _Reads(NamedTuple, Generic[Row]):
    """How a kind of row is read from a partition, and made of what was found."""

    before: Statement
    next_stations: Statement
    same_station: Statement
    of_station: Statement
    made: Callable[[Sequence[Any]], Row]


def _reads(columns: str, made: Callable[[Sequence[Any]], Row]) -> _Reads[Row]:
    plant = columns + " FROM anomalies_by_time WHERE hour = ? AND slot = ? AND "
    return _Reads(
        before=statement(plant + "event_time >= ? AND event_time < ? LIMIT ?"),
        next_stations=statement(plant + "event_time = ? AND station_id > ? LIMIT ?"),
        same_station=statement(plant + "event_time = ? AND station_id = ? AND seq < ? LIMIT ?"),
        of_station=statement(
            columns
            + """ FROM anomalies_by_station WHERE station_id = ? AND day = ? AND (event_time, seq) >= (?, ?)
    AND (event_time, seq) < (?, ?) LIMIT ?"""
        ),
        made=made,
    )


_ROWS = _reads(FOUND_COLUMNS, found_row)
_MARKS = _reads(MARK_COLUMNS, Mark._make)


def place_after(row: AnomalyRow | Mark) -> Place:
    """The place right behind a row."""
    return Place(row.event_ms, row.station_id, row.seq)


def walk_plant(
    store: Store, start_ms: int, place: Place, wanted: int, keep: Keep | None = None
) -> Iterator[Stretch[AnomalyRow]]:
    """Walk back from `place` to start_ms (inclusive) through the anomalies of all stations.

    Order: newest event time first, then station id, then seq downwards. Reads one hour first and more at once as it
    finds little.

    Args:
        store: where from.
        start_ms: ms since the epoch; no older anomaly is met.
        place: where to begin; `Place(end_ms)` for everything before end_ms.
        wanted: about how many rows the caller will take; decides how many are read at once.
        keep: whether an anomaly of this stored severity is met; only those are read whole. None for all.
    """
    if keep is None:
        yield from _plant(store, _ROWS, start_ms, place, wanted)
        return
    for marked in _plant(store, _MARKS, start_ms, place, max(wanted, LEAST_MARKS)):
        yield from _kept(marked, keep, wanted, partial(whole_of_plant, store))


def walk_station(
    store: Store, station_id: str, start_ms: int, place: Place, wanted: int, keep: Keep | None = None
) -> Iterator[Stretch[AnomalyRow]]:
    """Walk back from `place` to start_ms through the anomalies of one station; see `walk_plant`."""
    if keep is None:
        yield from _station(store, _ROWS, station_id, start_ms, place, wanted)
        return
    for marked in _station(store, _MARKS, station_id, start_ms, place, max(wanted, LEAST_MARKS)):
        yield from _kept(marked, keep, wanted, partial(whole_of_station, store))


def latest(store: Store, limit: int, now_ms: int) -> list[AnomalyRow]:
    """The newest anomalies of the plant by event time, newest first, without their blocks.

    Event times lie at most 5 minutes ahead of and 30 days behind the record time; a day and 31 days cover them.

    Args:
        store: where from.
        limit: most rows returned.
        now_ms: ms since the epoch; bounds the years that can hold anomalies.
    """
    oldest_ms = max(0, now_ms - (store.config.anomalies_ttl_days + 31) * DAY_MS)
    walk = walk_plant(store, oldest_ms, Place(now_ms + DAY_MS), limit)
    return list(islice(chain.from_iterable(stretch.rows for stretch in walk), limit))


def by_station(store: Store, station_id: str, start_ms: int, end_ms: int) -> Iterator[AnomalyRow]:
    """Yield a station's anomalies with start_ms <= event_time < end_ms, newest first, without their blocks."""
    for stretch in walk_station(store, station_id, start_ms, Place(end_ms), FEWEST_ROWS):
        yield from stretch.rows


def _plant(store: Store, reads: _Reads[Row], start_ms: int, place: Place, wanted: int) -> Iterator[Stretch[Row]]:
    limit = max(FEWEST_ROWS, -(-2 * wanted // TIME_SLOTS))
    cut = True
    while cut:
        cut = False
        for hours in _growing(_hours(store, start_ms, place), MOST_HOURS_AT_ONCE):
            stretch, cut = _plant_stretch(store, reads, hours, start_ms, place, limit)
            yield stretch
            place = stretch.place
            if cut:
                limit = _more(limit)
                break


def _station(
    store: Store, reads: _Reads[Row], station_id: str, start_ms: int, place: Place, wanted: int
) -> Iterator[Stretch[Row]]:
    limit = max(FEWEST_ROWS, wanted)
    cut = True
    while cut:
        cut = False
        newest = place.event_ms if place.station_id else place.event_ms - 1
        days = range(floored(newest, DAY_MS), floored(start_ms, DAY_MS) - 1, -DAY_MS) if newest >= start_ms else ()
        for several in _growing(days, MOST_DAYS_AT_ONCE):
            edges = (start_ms, LEAST_SEQ, place.event_ms, place.seq, limit)
            found = store.rows_of_all(reads.of_station, [(station_id, cql_date(day), *edges) for day in several])
            sources = [list(map(reads.made, rows)) for rows in found]
            stretch, cut = _merged(sources, limit, Place(max(several[-1], start_ms)), len(several))
            yield stretch
            place = stretch.place
            if cut:
                limit = _more(limit)
                break


def _more(limit: int) -> int:
    """How many rows of a partition to read next, when the caller was not satisfied by so many."""
    return max(limit, min(2 * limit, MOST_ROWS_GROWN_TO))


def _plant_stretch(
    store: Store, reads: _Reads[Row], hours: list[tuple[int, list[int]]], start_ms: int, place: Place, limit: int
) -> tuple[Stretch[Row], bool]:
    partitions = [(hour, slot) for hour, slots in hours for slot in slots]
    before = [(*partition, start_ms, place.event_ms, limit) for partition in partitions]
    found = store.rows_of_all(reads.before, before)
    if place.station_id is not None:
        here = [partition for partition in partitions if partition[0] == floored(place.event_ms, HOUR_MS)]
        found += store.rows_of_all(
            reads.next_stations, [(*partition, place.event_ms, place.station_id, limit) for partition in here]
        )
        mine = [partition for partition in here if partition[1] == time_slot(place.station_id)]
        same = [(*partition, place.event_ms, place.station_id, place.seq, limit) for partition in mine]
        found += store.rows_of_all(reads.same_station, same)
    sources = [list(map(reads.made, rows)) for rows in found]
    return _merged(sources, limit, Place(max(hours[-1][0], start_ms)), len(partitions))


def _merged(sources: list[list[Row]], limit: int, end: Place, partitions: int) -> tuple[Stretch[Row], bool]:
    """Join sources in order, as far as all of them are known; whether one was cut short at `limit` rows."""
    rows = sorted(chain.from_iterable(sources), key=_order)
    known = min((_order(source[-1]) for source in sources if len(source) == limit), default=None)
    if known is None:
        return Stretch(rows, end, partitions, len(rows)), False
    rows = [row for row in rows if _order(row) <= known]
    return Stretch(rows, place_after(rows[-1]), partitions, len(rows)), True


def _kept(
    marked: Stretch[Mark], keep: Keep, wanted: int, whole: Callable[[Iterable[Mark]], Iterable[AnomalyRow]]
) -> Iterator[Stretch[AnomalyRow]]:
    """Yield the anomalies of a stretch that are kept, read whole, `wanted` of them at a time."""
    kept = [mark for mark in marked.rows if keep(mark.severity)]
    for at in range(wanted, len(kept), wanted):
        several = kept[at - wanted : at]
        yield Stretch(sorted(whole(several), key=_order), place_after(several[-1]), 0, 0)
    last = kept[(len(kept) - 1) // wanted * wanted :] if kept else []
    yield Stretch(sorted(whole(last), key=_order), marked.place, marked.partitions, marked.looked_at)


def _order(row: AnomalyRow | Mark) -> tuple[int, str, int]:
    return -row.event_ms, row.station_id, -row.seq


def _hours(store: Store, start_ms: int, place: Place) -> Iterator[tuple[int, list[int]]]:
    """Yield (hour, slots) that hold anomalies, newest first, from the hour of `place` back to that of start_ms."""
    end_ms = place.event_ms + (place.station_id is not None)
    hour, slots = None, []
    for next_hour, slot in partitions_of(store, start_ms, end_ms):
        if hour is not None and next_hour != hour:
            yield hour, slots
            slots = []
        hour = next_hour
        slots.append(slot)
    if hour is not None:
        yield hour, slots


def partitions_of(store: Store, start_ms: int, end_ms: int) -> Iterator[tuple[int, int]]:
    """Yield (hour, slot) of the partitions of `anomalies_by_time` that touch [start_ms, end_ms), newest hour first."""
    if end_ms <= start_ms:
        return
    first_hour = floored(start_ms, HOUR_MS)
    for year in range(year_of(end_ms - 1), year_of(first_hour) - 1, -1):
        yield from store.rows(SELECT_HOURS, (year, first_hour, end_ms))


def _growing(items: Iterable[Item], most: int) -> Iterator[list[Item]]:
    """Cut into lists of 1, 2, 4 … `most`: one busy hour is enough, quiet ones are read together."""
    size, held = 1, []
    for item in items:
        held.append(item)
        if len(held) == size:
            yield held
            size, held = min(2 * size, most), []
    if held:
        yield held
