"""How many anomalies there were, by minute and by severity class, sensor or station.

Past hours come from `anomaly_counts`, which `storage.tables.recounting` keeps; what it does not hold, the hours around
the present and hours that the interval cuts, is counted from the anomalies themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from core.times import DAY_MS, HOUR_MS, MINUTE_MS, cql_date, floored, steps
from core.verdict import severity_class
from storage.driver.session import READS_IN_FLIGHT, Statement, Store, statement
from storage.driver.writes import write_rows
from storage.tables.anomalies import TIME_SLOTS
from storage.tables.anomaly_scan import partitions_of

Group = Literal["severity", "sensor", "station"]
Partition = tuple[int, int]
"""(hour in ms since the epoch, slot) of `anomalies_by_time`."""

GROUPS: tuple[Group, ...] = ("severity", "sensor", "station")
NO_SENSOR = ""
COUNTED_AT_ONCE = 8
WRITE_SECONDS = 5.0
MOST_CELLS = 2_000_000

SELECT_COUNTED = statement("""
SELECT toUnixTimestamp(event_time), station_id, severity, leading_sensor FROM anomalies_by_time
WHERE hour = ? AND slot = ? AND event_time >= ? AND event_time < ?""")
INSERT = statement("""
INSERT INTO anomaly_counts (day, slot, hour, severities, sensors, stations) VALUES (?, ?, ?, ?, ?, ?)
USING TIMESTAMP ?""")
_SELECT = "SELECT toUnixTimestamp(hour), {} FROM anomaly_counts WHERE day = ? AND slot = ? AND hour >= ? AND hour < ?"
SELECT_MINUTES: dict[Group, Statement] = {
    "severity": statement(_SELECT.format("severities")),
    "sensor": statement(_SELECT.format("sensors")),
    "station": statement(_SELECT.format("stations")),
}


class TooManyCounts(ValueError):
    """Groups times steps are more than one answer may hold."""


class Counted(NamedTuple):
    """Counts by group and step: `counts` is (len(keys), steps) int64, `first_ms` the start of the first step."""

    keys: list[str]
    counts: np.ndarray
    first_ms: int


class Minutes(msgspec.Struct, array_like=True):
    """The counts of an hour in one grouping: cell i says that in `minute[i]` of the hour `key[i]` had `count[i]`.

    `minute` uint8, `key` (a place in `keys`) and `count` uint32, little endian.
    """

    keys: list[str]
    minute: bytes
    key: bytes
    count: bytes


_decode = msgspec.msgpack.Decoder(Minutes).decode


def count_partitions(store: Store, partitions: Sequence[Partition], clock_us: Callable[[], int]) -> None:
    """Count partitions whole and store that.

    Args:
        store: where.
        partitions: hours and slots.
        clock_us: µs since the epoch; of two counts of a partition the one that began later wins.

    Raises:
        StoreUnavailable: Cassandra is away; some may be counted already, and all may be counted again.
    """
    for at in range(0, len(partitions), COUNTED_AT_ONCE):
        several, begun_us = partitions[at : at + COUNTED_AT_ONCE], clock_us()
        keys = [(hour, slot, hour, hour + HOUR_MS) for hour, slot in several]
        answers = store.rows_of_all(SELECT_COUNTED, keys)
        rows = [
            ((cql_date(hour), slot), (cql_date(hour), slot, hour, *_columns(hour, found), begun_us))
            for (hour, slot), found in zip(several, answers, strict=True)
        ]
        write_rows(store, INSERT, rows, WRITE_SECONDS)


def _columns(hour: int, rows: Iterable[Sequence[Any]]) -> list[bytes]:
    tallies: dict[Group, Counter[tuple[int, str]]] = {group: Counter() for group in GROUPS}
    for row in rows:
        minute = (row[0] - hour) // MINUTE_MS
        for group in GROUPS:
            tallies[group][minute, _key(group, row)] += 1
    return [_packed(tallies[group]) for group in GROUPS]


def counted(
    store: Store, start_ms: int, end_ms: int, step_ms: int | None, group: Group, kept_before_ms: int
) -> Counted:
    """Count the anomalies with start_ms <= event_time < end_ms.

    Args:
        store: where from.
        start_ms: ms since the epoch.
        end_ms: ms since the epoch.
        step_ms: length of a step, whole minutes; steps begin at its multiples since the epoch. None is one step.
        group: by what.
        kept_before_ms: below it `anomaly_counts` is known to hold every hour that has anomalies; from here on they are
            counted directly.

    Raises:
        TooManyCounts: over `MOST_CELLS` cells.
        StoreUnavailable: Cassandra is away.
    """
    first_ms = start_ms if step_ms is None else floored(start_ms, step_ms)
    tally = _Tally(first_ms, step_ms or max(1, end_ms - start_ms), end_ms)
    whole_start = floored(start_ms + HOUR_MS - 1, HOUR_MS)
    whole_end = min(floored(end_ms, HOUR_MS), kept_before_ms)
    edges = [(start_ms, end_ms)]
    if whole_start < whole_end:
        edges = [(start_ms, whole_start), (whole_end, end_ms)]
        for hour, packed in _kept(store, whole_start, whole_end, group):
            tally.add_minutes(hour, _decode(packed))
    direct = [(*partition, low, high) for low, high in edges for partition in partitions_of(store, low, high)]
    for rows in _several(store, direct):
        tally.add_rows(rows, group)
    return tally.counted()


def _kept(store: Store, start_ms: int, end_ms: int, group: Group) -> Iterator[tuple[int, bytes]]:
    """Yield the kept hours from start_ms to end_ms, one for each slot that had anomalies."""
    days = [(cql_date(day), slot) for day in steps(start_ms, end_ms, DAY_MS) for slot in range(TIME_SLOTS)]
    return chain.from_iterable(store.rows_of_all(SELECT_MINUTES[group], [(*day, start_ms, end_ms) for day in days]))


def _several(store: Store, keys: list[tuple[int, int, int, int]]) -> Iterator[list[tuple[int, str, float, str | None]]]:
    """Yield the rows of partitions, those of a few at a time in memory."""
    left = iter(keys)
    while several := list(islice(left, READS_IN_FLIGHT)):
        yield list(chain.from_iterable(store.rows_of_all(SELECT_COUNTED, several)))


def _key(group: Group, row: Sequence[object]) -> str:
    if group == "severity":
        return severity_class(float(row[2]))  # type: ignore[arg-type]
    return str(row[1]) if group == "station" else str(row[3] or NO_SENSOR)


def _packed(tally: Counter[tuple[int, str]]) -> bytes:
    keys = sorted({key for _, key in tally})
    places = {key: place for place, key in enumerate(keys)}
    cells = sorted((minute, places[key], count) for (minute, key), count in tally.items())
    columns = np.array(cells, np.int64).reshape(len(cells), 3)
    minute, key, count = (columns[:, at].astype(dtype) for at, dtype in enumerate(("u1", "<u4", "<u4")))
    return msgspec.msgpack.encode(Minutes(keys, minute.tobytes(), key.tobytes(), count.tobytes()))


class _Tally:
    """Collects cells and adds them up at the end, all at once: most of a month's answer is thousands of tiny hours."""

    def __init__(self, first_ms: int, step_ms: int, end_ms: int) -> None:
        self._first_ms, self._step_ms = first_ms, step_ms
        self._steps = max(0, -(-(end_ms - first_ms) // step_ms))
        self._keys: dict[str, int] = {}
        self._hours: list[int] = []
        self._minutes: list[Minutes] = []
        self._places: list[int] = []
        self._direct: list[tuple[np.ndarray, np.ndarray]] = []

    def add_minutes(self, hour: int, minutes: Minutes) -> None:
        """Add an hour that was counted before."""
        self._hours.append(hour)
        self._minutes.append(minutes)

    def add_rows(self, rows: Iterable[Sequence[object]], group: Group) -> None:
        """Add anomalies."""
        rows = list(rows)
        times = np.fromiter((row[0] for row in rows), np.int64, len(rows))  # type: ignore[misc]
        places = np.fromiter((self._place(_key(group, row)) for row in rows), np.int64, len(rows))
        self._direct.append((places, (times - self._first_ms) // self._step_ms))

    def counted(self) -> Counted:
        """The sums."""
        parts = [(places, steps, np.ones(len(places))) for places, steps in self._direct]
        parts.append(self._kept_cells())
        if len(self._keys) * self._steps > MOST_CELLS:
            raise TooManyCounts(f"{len(self._keys)} groups times {self._steps} steps")
        places, steps, counts = (np.concatenate(column) for column in zip(*parts, strict=True))
        size = len(self._keys) * self._steps
        sums = np.bincount(places * self._steps + steps, counts, size).astype(np.int64)
        order = sorted(self._keys)
        table = sums.reshape(len(self._keys), self._steps)[[self._keys[key] for key in order]]
        return Counted(order, table, self._first_ms)

    def _kept_cells(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Places, steps and counts of all hours that were counted before."""
        place = [np.array([self._place(key) for key in minutes.keys], np.int64) for minutes in self._minutes]
        sizes = [len(minutes.minute) for minutes in self._minutes]
        offsets = np.concatenate([[0], np.cumsum([len(part) for part in place])]).astype(np.int64)[:-1]
        key = _joined((minutes.key for minutes in self._minutes), "<u4") + np.repeat(offsets, sizes)
        minute = _joined((minutes.minute for minutes in self._minutes), "u1")
        times = np.repeat(np.array(self._hours, np.int64), sizes) + minute * MINUTE_MS
        places = np.concatenate([np.zeros(0, np.int64), *place])[key]
        counts = _joined((minutes.count for minutes in self._minutes), "<u4")
        return places, (times - self._first_ms) // self._step_ms, counts.astype(np.float64)

    def _place(self, key: str) -> int:
        return self._keys.setdefault(key, len(self._keys))


def _joined(parts: Iterable[bytes], dtype: str) -> np.ndarray:
    return np.frombuffer(b"".join(parts), dtype).astype(np.int64)
