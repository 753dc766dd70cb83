"""Tables `shadow_samples` and `shadow_hours`: what a challenger would have said, beside the champion.

A bounded sample, the same whatever the order the readings came in or how often: counts follow from rows, so a replay
changes none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from core.times import HOUR_MS, MINUTE_MS, floored
from storage.driver.retry import DEADLINE_SECONDS, OnWait
from storage.driver.session import Store, statement
from storage.driver.writes import write_rows

MOST_HOURS = 24


class ShadowRow(NamedTuple):
    """A reading judged by both, which contends for a slot of its minute; slot and rank as in `SampleRow`."""

    challenger: int
    champion: int
    event_ms: int
    slot: int
    rank: int
    station_id: str
    seq: int
    champion_score: float
    challenger_score: float
    to_flagged: bool
    to_normal: bool


class Shadowed(NamedTuple):
    """How a challenger compares with a champion: readings judged by both, and verdicts that differ, both ways.

    `to_flagged` are flagged by the challenger alone, `to_normal` by the champion alone. Times in ms since the epoch:
    the first and last hour that is counted.
    """

    challenger: int
    champion: int
    compared: int
    to_flagged: int
    to_normal: int
    first_hour_ms: int
    last_hour_ms: int


INSERT = statement("""
INSERT INTO shadow_samples (challenger, champion, hour, minute, slot, event_time, station_id, seq, champion_score,
    challenger_score, to_flagged, to_normal)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?""")
INSERT_HOUR = statement("INSERT INTO shadow_hours (challenger, hour, champion) VALUES (?, ?, ?)")
SELECT_HOURS = statement("SELECT champion, toUnixTimestamp(hour) FROM shadow_hours WHERE challenger = ? LIMIT ?")
SELECT_FLIPS = statement("""
SELECT count(*), sum(to_flagged), sum(to_normal) FROM shadow_samples
WHERE challenger = ? AND champion = ? AND hour = ?""")


def write_shadow(
    store: Store, rows: list[ShadowRow], deadline_seconds: float = DEADLINE_SECONDS, on_wait: OnWait | None = None
) -> None:
    """Let these readings contend for their slots.

    Raises:
        StoreUnavailable: some row is not known to be written at the deadline; all may be written again.
    """
    hours = {(row.challenger, floored(row.event_ms, HOUR_MS), row.champion) for row in rows}
    write_rows(store, INSERT_HOUR, ((hour[0], hour) for hour in sorted(hours)), deadline_seconds, on_wait)
    write_rows(store, INSERT, _keyed(rows), deadline_seconds, on_wait)


def shadowed(store: Store, challenger: int) -> list[Shadowed]:
    """Return what the challenger's last 24 hours beside a champion came to, one entry a champion, newest first."""
    hours = [(int(champion), int(hour)) for champion, hour in store.rows(SELECT_HOURS, (challenger, MOST_HOURS))]
    answers = store.rows_of_all(SELECT_FLIPS, [(challenger, champion, hour) for champion, hour in hours])
    found: dict[int, Shadowed] = {}
    for (champion, hour), [(compared, to_flagged, to_normal)] in zip(hours, answers, strict=True):
        held = found.get(champion, Shadowed(challenger, champion, 0, 0, 0, hour, hour))
        found[champion] = Shadowed(
            challenger,
            champion,
            held.compared + int(compared),
            held.to_flagged + int(to_flagged or 0),
            held.to_normal + int(to_normal or 0),
            min(held.first_hour_ms, hour),
            max(held.last_hour_ms, hour),
        )
    return list(found.values())


def _keyed(rows: Iterable[ShadowRow]) -> Iterator[tuple[tuple[int, ...], tuple[object, ...]]]:
    for row in rows:
        hour = floored(row.event_ms, HOUR_MS)
        partition = (row.challenger, row.champion, hour)
        yield partition, (
            *partition, (row.event_ms - hour) // MINUTE_MS, row.slot, row.event_ms, row.station_id, row.seq,
            row.champion_score, row.challenger_score, int(row.to_flagged), int(row.to_normal), row.rank,
        )  # fmt: skip
