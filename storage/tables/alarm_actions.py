"""Table `alarm_actions`: what people did to alarms. The alarms process reads it and never writes it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, cast

from core.alarm import Action, Done
from storage.driver.session import Store, statement
from storage.tables.alarms import AlarmKey


class ActionRow(NamedTuple):
    """The action number `number` of an alarm; `request` is its Idempotency-Key, or another text that no other has."""

    number: int
    done: Done
    request: str


SELECT_BETWEEN = statement("""
SELECT toUnixTimestamp(begun_time), station_id, seq, kind, number, action, toUnixTimestamp(given_time),
    toUnixTimestamp(until_time), given_by, comment, request
FROM alarm_actions WHERE day = ? AND slot = ? AND begun_time >= ? AND begun_time <= ?""")
INSERT = statement("""
INSERT INTO alarm_actions (day, slot, begun_time, station_id, seq, kind, number, action, given_time, until_time,
    given_by, comment, request)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) IF NOT EXISTS""")
SELECT_ONE = statement("""
SELECT request FROM alarm_actions
WHERE day = ? AND slot = ? AND begun_time = ? AND station_id = ? AND seq = ? AND kind = ? AND number = ?""")


def actions_of(store: Store, keys: Iterable[AlarmKey]) -> dict[AlarmKey, list[ActionRow]]:
    """What was done to these alarms, oldest first; alarms that nobody touched are absent."""
    wanted = set(keys)
    partitions: dict[tuple[int, int], tuple[int, int]] = {}
    for key in wanted:
        low, high = partitions.get(key.partition, (key.begun_ms, key.begun_ms))
        partitions[key.partition] = min(low, key.begun_ms), max(high, key.begun_ms)
    found: dict[AlarmKey, list[ActionRow]] = {}
    for rows in store.rows_of_all(SELECT_BETWEEN, [(*where, *span) for where, span in partitions.items()]):
        for begun_ms, station_id, seq, kind, number, action, at_ms, until_ms, by, comment, request in rows:
            key = AlarmKey(station_id, begun_ms, seq, kind)
            if key in wanted:
                done = Done(cast(Action, action), at_ms, until_ms, by, comment or "")
                found.setdefault(key, []).append(ActionRow(number, done, request or ""))
    return found


def add_action(store: Store, key: AlarmKey, row: ActionRow) -> bool:
    """Store an action as the alarm's next one; False when somebody else's took its number.

    Raises:
        StoreUnavailable: Cassandra is away; whether it was stored is then unknown.
    """
    place = (*key.partition, key.begun_ms, key.station_id, key.seq, key.kind, row.number)
    done = row.done
    store.one(INSERT, (*place, done.action, done.at_ms, done.until_ms, done.by, done.comment, row.request))
    # Read in any case: an answer lost on the way leaves open who wrote it, and the row alone knows.
    held = store.one(SELECT_ONE, place)
    return held is not None and held[0] == row.request
