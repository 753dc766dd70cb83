"""Tables `alarms`, `alarms_by_station`, `alarms_open`: the episodes that people handle.

Written in the order index, row, so that a crash between them leaves at worst a key without a row, which readers skip.
Every write of one look at the feed carries the moment the look began as its timestamp: whoever looks later wins, also
against a process that was paused in between.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from core.times import DAY_MS, cql_date, steps
from storage.driver.retry import DEADLINE_SECONDS, OnWait, Patience
from storage.driver.session import Store, statement
from storage.driver.writes import write_rows
from storage.tables.anomalies import TIME_SLOTS, time_slot

ANOMALY, SILENT = "anomaly", "silent"
DAYS_A_PAGE = 25
"""A day of the plant is eight partitions."""

MOST_OF_A_DAY = 5000
"""Alarms of one station and day that are looked at; at ten readings a second there are some 8,000 at most."""


class AlarmKey(NamedTuple):
    """What tells one alarm from every other; `begun_ms` in ms since the epoch."""

    station_id: str
    begun_ms: int
    seq: int
    kind: str = ANOMALY

    @property
    def partition(self) -> tuple[int, int]:
        """Day and slot of `alarms`, as the driver binds them."""
        return cql_date(self.begun_ms), time_slot(self.station_id)


class AlarmRow(NamedTuple):
    """One alarm. Times in ms since the epoch.

    `begun_ms`, `last_ms` and `worst_ms` are event times, `first_record_ms` and `last_record_ms` when the first and the
    last abnormal reading reached Kafka. `recent` are the last ordinals that were flagged, `flags` what any reading
    had, `worst_severity` of the worst reading, `severity` after escalation. `scope` is of core.peer_comparison.
    `notified_ms` None: not yet worth telling; `closed_ms` None: not quiet yet; `posted_ms` None: Alertmanager does
    not know it. `silenced_by` are ids of silences made there, separated by blanks.
    """

    station_id: str
    begun_ms: int
    seq: int
    kind: str
    kafka_partition: int
    last_offset: int
    first_ordinal: int
    last_ordinal: int
    recent: tuple[int, ...]
    readings: int
    first_record_ms: int
    last_record_ms: int
    last_ms: int
    flags: int
    worst_severity: float
    worst_ms: int
    worst_seq: int
    severity: float
    sensor: str
    sentence: str
    action: str
    group: str
    scope: str
    notified_ms: int | None = None
    closed_ms: int | None = None
    posted_ms: int | None = None
    silenced_by: str = ""

    @property
    def key(self) -> AlarmKey:
        """Its identity."""
        return AlarmKey(*self[:4])


_TIMES = {
    "begun_time", "first_record_time", "last_record_time", "last_time", "worst_time", "notified_time", "closed_time",
    "posted_time",
}  # fmt: skip
_COLUMNS = (
    "station_id", "begun_time", "seq", "kind", "kafka_partition", "last_offset", "first_ordinal", "last_ordinal",
    "recent", "readings", "first_record_time", "last_record_time", "last_time", "flags", "worst_severity", "worst_time",
    "worst_seq", "severity", "sensor", "sentence", "action", "station_group", "scope", "notified_time", "closed_time",
    "posted_time", "silenced_by",
)  # fmt: skip
_RECENT = _COLUMNS.index("recent")
_SELECTED = ", ".join(f"toUnixTimestamp({name})" if name in _TIMES else name for name in _COLUMNS)
_KEY = "station_id, toUnixTimestamp(begun_time), seq, kind"

INSERT = statement(
    f"INSERT INTO alarms (day, slot, {', '.join(_COLUMNS)}) "  # noqa: S608 - constants of this file.
    f"VALUES ({', '.join('?' * (2 + len(_COLUMNS)))}) USING TIMESTAMP ?"
)
INSERT_STATION = statement("""
INSERT INTO alarms_by_station (station_id, day, begun_time, seq, kind) VALUES (?, ?, ?, ?, ?)""")
INSERT_OPEN = statement("""
INSERT INTO alarms_open (slot, begun_time, station_id, seq, kind) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?""")
DELETE_OPEN = statement("""
DELETE FROM alarms_open USING TIMESTAMP ?
WHERE slot = ? AND begun_time = ? AND station_id = ? AND seq = ? AND kind = ?""")
SELECT_ONE = statement(f"""
SELECT {_SELECTED} FROM alarms
WHERE day = ? AND slot = ? AND begun_time = ? AND station_id = ? AND seq = ? AND kind = ?""")  # noqa: S608
SELECT_DAY = statement(f"""
SELECT {_SELECTED} FROM alarms WHERE day = ? AND slot = ? AND begun_time >= ? AND begun_time < ? LIMIT ?""")  # noqa: S608
SELECT_OPEN = statement(f"SELECT {_KEY} FROM alarms_open WHERE slot = ?")  # noqa: S608
SELECT_STATION = statement(f"""
SELECT {_KEY} FROM alarms_by_station
WHERE station_id = ? AND day = ? AND begun_time >= ? AND begun_time < ? LIMIT ?""")  # noqa: S608
UPDATE_PROGRESS = statement("""
UPDATE alarms_progress USING TIMESTAMP ? SET folded_to = ? WHERE topic = ? AND kafka_partition = ?""")
SELECT_PROGRESS = statement("SELECT kafka_partition, folded_to FROM alarms_progress WHERE topic = ?")


def write_alarms(
    store: Store,
    rows: Iterable[AlarmRow],
    began_us: int,
    named: Collection[AlarmKey] = (),
    deadline_seconds: float = DEADLINE_SECONDS,
    on_wait: OnWait | None = None,
) -> None:
    """Upsert alarms, and name each among the open ones until `forget` is called.

    Args:
        store: where to.
        rows: whole ones.
        began_us: when the look at the feed began that they come from, µs since the epoch.
        named: those that are known to be named already.
        deadline_seconds: how long trouble is waited out, s.
        on_wait: told about each pause.

    Raises:
        StoreUnavailable: some row is not known to be written at the deadline; all may be written again.
    """
    rows = list(rows)
    if not rows:
        return
    patience = Patience(deadline_seconds, on_wait)
    fresh = [row.key for row in rows if row.key not in named]
    stations = (((key.station_id, cql_date(key.begun_ms)), _station(key)) for key in fresh)
    write_rows(store, INSERT_STATION, stations, patience.remaining(), on_wait)
    opened = ((time_slot(key.station_id), (*_open(key), began_us)) for key in fresh)
    write_rows(store, INSERT_OPEN, opened, patience.remaining(), on_wait)
    whole = ((row.key.partition, (*row.key.partition, *_bound(row), began_us)) for row in rows)
    write_rows(store, INSERT, whole, patience.remaining(), on_wait)


def forget(store: Store, keys: Iterable[AlarmKey], began_us: int, deadline_seconds: float = DEADLINE_SECONDS) -> None:
    """Take alarms that are over out of the index of the open ones.

    Raises:
        StoreUnavailable: some are not known to be taken out at the deadline.
    """
    rows = ((time_slot(key.station_id), (began_us, *_open(key))) for key in keys)
    write_rows(store, DELETE_OPEN, rows, deadline_seconds)


def alarm(store: Store, key: AlarmKey) -> AlarmRow | None:
    """One alarm, or None."""
    found = store.one(SELECT_ONE, (*key.partition, key.begun_ms, key.station_id, key.seq, key.kind))
    return None if found is None else _row(found)


def alarms_of_keys(store: Store, keys: Iterable[AlarmKey]) -> list[AlarmRow]:
    """The alarms of these keys, in their order; keys without a row are left out."""
    asked = [(*key.partition, key.begun_ms, key.station_id, key.seq, key.kind) for key in keys]
    return [_row(found[0]) for found in store.rows_of_all(SELECT_ONE, asked) if found]


def open_keys(store: Store) -> list[AlarmKey]:
    """The alarms of the plant that are not over, newest first. Some may be: the row of each says so."""
    found = store.rows_of_all(SELECT_OPEN, [(slot,) for slot in range(TIME_SLOTS)])
    keys = [AlarmKey._make(row) for rows in found for row in rows]
    return sorted(keys, key=lambda key: (-key.begun_ms, *key))


def alarms_page(
    store: Store, start_ms: int, place: AlarmKey | int, limit: int, station_id: str | None = None
) -> tuple[list[AlarmRow], AlarmKey | int | None]:
    """Alarms of the plant, or of one station, by when they began, newest first.

    Args:
        store: where from.
        start_ms: none that began earlier, ms since the epoch.
        place: the key behind which to go on; or ms since the epoch, none that began at it or later.
        limit: most alarms returned.
        station_id: of the station, None for the plant.

    Returns:
        At most `limit` alarms, and the place to go on from; None at the end. A page ends after `DAYS_A_PAGE` days.
    """
    end_ms = place if isinstance(place, int) else place.begun_ms + 1
    rows: list[AlarmRow] = []
    for number, day in enumerate(steps(start_ms, end_ms, DAY_MS, newest_first=True)):
        if number == DAYS_A_PAGE:
            return rows, day + DAY_MS
        until: int | None = min(end_ms, day + DAY_MS)
        while until is not None:
            if station_id is None:
                found, until = _of_day(store, day, max(start_ms, day), until, limit)
            else:
                found, until = _of_station(store, station_id, day, max(start_ms, day), until), None
            rows += [row for row in found if isinstance(place, int) or _place(row.key) > _place(place)]
            if len(rows) >= limit:
                return rows[:limit], rows[limit - 1].key
    return rows, None


def note_progress(store: Store, topic: str, to: Mapping[int, int]) -> None:
    """Say that every offset of the feed below `to` (partition → offset) is folded. Never goes back.

    Raises:
        StoreUnavailable: Cassandra is away.
    """
    for partition, offset in to.items():
        store.one(UPDATE_PROGRESS, (offset + 1, offset, topic, partition))


def folded_to(store: Store, topic: str) -> dict[int, int]:
    """Partition → first offset of the feed that is not folded."""
    return {row[0]: row[1] for row in store.rows(SELECT_PROGRESS, (topic,)) if row[1] is not None}


def _of_station(store: Store, station_id: str, day_ms: int, start_ms: int, end_ms: int) -> list[AlarmRow]:
    values = (station_id, cql_date(day_ms), start_ms, end_ms, MOST_OF_A_DAY)
    return alarms_of_keys(store, [AlarmKey._make(row) for row in store.rows(SELECT_STATION, values)])


def _of_day(store: Store, day_ms: int, start_ms: int, end_ms: int, limit: int) -> tuple[list[AlarmRow], int | None]:
    """The newest alarms of a day in [start_ms, end_ms), and the end to go on with; None when the day is read.

    A slot that was cut short bounds what is known of all; alarms that began in its last millisecond are read again.
    """
    share = max(8, limit) + 1
    day = cql_date(day_ms)
    parts = store.rows_of_all(SELECT_DAY, [(day, slot, start_ms, end_ms, share) for slot in range(TIME_SLOTS)])
    rows = sorted((_row(found) for part in parts for found in part), key=lambda row: _place(row.key))
    cut = max((_row(part[-1]).begun_ms for part in parts if len(part) == share), default=None)
    if cut is None:
        return rows, None
    known = [row for row in rows if row.begun_ms > cut]
    if known:
        return known, cut + 1
    # More in one millisecond than a read takes: all of that millisecond at once.
    return _of_day(store, day_ms, start_ms, end_ms, 8 * limit)


def _place(key: AlarmKey) -> tuple[int, str, int, str]:
    """Sorts newest first, and tells alarms of one moment apart."""
    return -key.begun_ms, key.station_id, -key.seq, key.kind


def _station(key: AlarmKey) -> tuple[object, ...]:
    return key.station_id, cql_date(key.begun_ms), key.begun_ms, key.seq, key.kind


def _open(key: AlarmKey) -> tuple[object, ...]:
    return time_slot(key.station_id), key.begun_ms, key.station_id, key.seq, key.kind


def _bound(row: AlarmRow) -> tuple[object, ...]:
    return (*row[:_RECENT], list(row.recent), *row[_RECENT + 1 :])


def _row(found: tuple[Any, ...]) -> AlarmRow:
    values = list(found)
    values[_RECENT] = tuple(values[_RECENT] or ())
    return AlarmRow._make(values)
