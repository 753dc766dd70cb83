"""Table `station_statistics`: the state of single stations, about a minute old, for judging beside the stream."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from storage.driver.retry import DEADLINE_SECONDS, OnWait
from storage.driver.session import Store, statement
from storage.driver.writes import write_rows


class StatisticsRow(NamedTuple):
    """A station's state as bytes of a shard that holds this station alone; record_ms of its last reading."""

    station_id: str
    state: bytes
    record_ms: int


INSERT = statement("INSERT INTO station_statistics (station_id, state, record_time) VALUES (?, ?, ?)")
SELECT = statement("SELECT state FROM station_statistics WHERE station_id = ?")


def write_statistics(
    store: Store,
    rows: Iterable[StatisticsRow],
    deadline_seconds: float = DEADLINE_SECONDS,
    on_wait: OnWait | None = None,
) -> None:
    """Overwrite the statistics of these stations.

    Raises:
        StoreUnavailable: some row is not known to be written at the deadline; all may be written again.
    """
    write_rows(store, INSERT, ((row.station_id, row) for row in rows), deadline_seconds, on_wait)


def statistics_of(store: Store, station_ids: Iterable[str]) -> dict[str, bytes]:
    """The statistics of these stations, without those that have none."""
    ids = list(station_ids)
    answers = store.rows_of_all(SELECT, [(station_id,) for station_id in ids])
    return {station_id: rows[0][0] for station_id, rows in zip(ids, answers, strict=True) if rows}
