"""Marks of anomalies: what a walk reads where most rows will not be wanted, and the whole rows of those that are."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, groupby
from typing import Any, NamedTuple

from core.times import HOUR_MS, cql_date, floored
from storage.driver.session import Statement, Store, statement
from storage.tables.anomalies import FOUND_COLUMNS, AnomalyRow, found_row, time_slot


class Mark(NamedTuple):
    """What tells whether an anomaly is worth reading whole: its identity, and its severity as stored, 0 to 100."""

    station_id: str
    event_ms: int
    seq: int
    severity: float


MARK_COLUMNS = "SELECT station_id, toUnixTimestamp(event_time), seq, severity"
SELECT_THESE_OF_PLANT = statement(
    FOUND_COLUMNS
    + """
FROM anomalies_by_time WHERE hour = ? AND slot = ? AND (event_time, station_id, seq) IN ?"""
)
SELECT_THESE_OF_STATION = statement(
    FOUND_COLUMNS
    + """
FROM anomalies_by_station WHERE station_id = ? AND day = ? AND (event_time, seq) IN ?"""
)


def whole_of_plant(store: Store, marks: Iterable[Mark]) -> Iterable[AnomalyRow]:
    """The anomalies of these marks without their blocks, in no order; those that are gone are left out."""
    return _whole(store, SELECT_THESE_OF_PLANT, map(_of_plant, marks))


def whole_of_station(store: Store, marks: Iterable[Mark]) -> Iterable[AnomalyRow]:
    """The same, from the partitions of the station they are all of."""
    return _whole(store, SELECT_THESE_OF_STATION, map(_of_station, marks))


def _whole(
    store: Store, cql: Statement, keys: Iterable[tuple[tuple[Any, ...], tuple[Any, ...]]]
) -> Iterable[AnomalyRow]:
    """Read the rows of keys (partition, place in it), a query a partition."""
    partitions = groupby(sorted(keys), lambda key: key[0])
    asked = [(*partition, [place for _, place in several]) for partition, several in partitions]
    return map(found_row, chain.from_iterable(store.rows_of_all(cql, asked)))


def _of_plant(mark: Mark) -> tuple[tuple[int, int], tuple[int, str, int]]:
    return (floored(mark.event_ms, HOUR_MS), time_slot(mark.station_id)), (mark.event_ms, mark.station_id, mark.seq)


def _of_station(mark: Mark) -> tuple[tuple[str, Any], tuple[int, int]]:
    return (mark.station_id, cql_date(mark.event_ms)), (mark.event_ms, mark.seq)
