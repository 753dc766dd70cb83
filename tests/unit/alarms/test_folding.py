"""Anomalies folded into alarms: the same alarms wherever the feed is cut and however often a process dies."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alarms.folding import Fold, Policy, escalated, said
from core.episodes import GAP, episodes
from core.verdict import Flag
from models.scoring.rules import IMPLAUSIBLE, STUCK
from storage.tables.alarms import AlarmKey, AlarmRow
from storage.tables.anomalies import AnomalyRow
from storage.tables.stations import Heard

POLICY = Policy(fired=3, of=5, quiet_ms=20_000)
START_MS = 1_795_000_000_000


def anomaly(
    station: int, ordinal: int, at_ms: int, severity: float = 60.0, flags: int = 1, offset: int = 0
) -> AnomalyRow:
    said_of_it = {
        "sensors": [{"name": f"sensor-{ordinal % 3}", "contribution": 1.0}],
        "explanation": f"sentence {ordinal}",
        "action": {"text": f"advice {ordinal}"},
    }
    return AnomalyRow(
        f"s{station}", at_ms, ordinal, {}, 2.0, severity, flags, json.dumps(said_of_it), ordinal, None, 7, station % 2,
        offset, at_ms, at_ms, at_ms,
    )  # fmt: skip


@dataclass
class Plant:
    """What is stored, and a process that folds and may die.

    Args:
        stations: when each was last heard.
    """

    stored: dict[AlarmKey, AlarmRow] = field(default_factory=dict)
    index: set[AlarmKey] = field(default_factory=set)

    def begin(self) -> Fold:
        """A process that has just started."""
        return Fold(POLICY, [self.stored[key] for key in self.index])

    def store(self, fold: Fold, keys: set[AlarmKey]) -> None:
        for key in keys:
            self.stored[key] = fold.open[key]
            self.index.add(key)

    def close(self, fold: Fold, heard: dict[str, Heard], forget: bool) -> None:
        self.store(fold, fold.close(heard))
        if forget:
            for key in [key for key, row in fold.open.items() if row.closed_ms is not None]:
                fold.drop(key)
                self.index.discard(key)


# Of each reading: the station, how many of its readings came before it unflagged, how bad it is, what flags it has.
steps = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from([0, 0, 0, 1, 2, GAP - 1, GAP, GAP + 25]),
        st.sampled_from([5.0, 40.0, 80.0]),
        st.sampled_from([1, 1, 1, 1 | STUCK.bit]),
    ),
    max_size=60,
)
# Where the feed is cut, and what happens there: whether the process dies before or after it has noted its place.
cuts = st.lists(st.tuples(st.integers(0, 60), st.booleans(), st.booleans(), st.booleans()), max_size=6)


def feed_of(drawn: list[tuple[int, int, float, int]]) -> tuple[list[AnomalyRow], list[dict[str, Heard]]]:
    """The anomalies in order of arrival, and when each station was heard once each of them is stored."""
    ordinals, rows, heard = {}, [], []
    last: dict[str, Heard] = {}
    for offset, (station, skipped, severity, flags) in enumerate(drawn):
        ordinals[station] = ordinals.get(station, 0) + skipped + 1
        at_ms = START_MS + 1000 * ordinals[station]
        rows.append(anomaly(station, ordinals[station], at_ms, severity, flags, offset))
        last = {**last, f"s{station}": Heard(f"s{station}", at_ms, ordinals[station], 1.0)}
        heard.append(last)
    return rows, heard


def run(drawn: list[tuple[int, int, float, int]], places: list[tuple[int, bool, bool, bool]]) -> Plant:
    """Fold with these cuts, then let every station be quiet."""
    rows, heard = feed_of(drawn)
    plant = Plant()
    fold = plant.begin()
    begun = 0
    for end, dies_before, dies_after, forgets in [*sorted(places), (len(rows), False, False, False)]:
        part = rows[begun:end]
        plant.store(fold, fold.add(part))
        if dies_before:
            fold = plant.begin()
            plant.store(fold, fold.add(part))
        begun = max(begun, end)
        if 0 < begun <= len(heard):
            plant.close(fold, heard[begun - 1], forgets)
        if dies_after:
            fold = plant.begin()
    if heard:
        later = {one: row._replace(last_record_ms=row.last_record_ms + 10**6, readings=row.readings + 500)
                 for one, row in heard[-1].items()}  # fmt: skip
        plant.close(fold, later, forget=True)
    return plant


@settings(max_examples=300, deadline=None)
@given(steps, cuts)
def test_alarms_are_the_same_wherever_the_feed_is_cut_and_whoever_dies(
    drawn: list[tuple[int, int, float, int]], places: list[tuple[int, bool, bool, bool]]
) -> None:
    """Breaks when a restart renames, doubles, loses or changes an alarm."""
    whole = run(drawn, [])
    assert run(drawn, places).stored == whole.stored
    assert whole.index == set(), "every alarm ends"


@settings(max_examples=200, deadline=None)
@given(steps)
def test_an_alarm_is_an_episode(drawn: list[tuple[int, int, float, int]]) -> None:
    """Breaks when alarms and evaluation no longer count alike."""
    rows, _ = feed_of(drawn)
    station = np.array([int(row.station_id[1:]) for row in rows], dtype=np.int64)
    ordinal = np.array([row.ordinal for row in rows], dtype=np.int64)
    wanted = episodes(station, ordinal, np.ones(len(rows), dtype=bool))
    found = sorted(run(drawn, []).stored.values(), key=lambda row: (row.station_id, row.first_ordinal))
    assert [row.readings for row in found] == wanted.readings.tolist()
    assert [row.last_ordinal for row in found] == wanted.end.tolist()
    assert [(row.begun_ms, row.seq) for row in found] == [(rows[at].event_ms, rows[at].seq) for at in wanted.first]


@pytest.mark.parametrize(
    ("ordinals", "flags", "told_at"),
    [
        ([1, 2, 3], 1, 3),
        ([1, 3, 5], 1, 5),
        ([1, 4, 7, 10], 1, None),
        ([1, 4, 7, 8], 1, 8),
        ([1, 4, 7, 9], 1, None),
        ([1, 2], 1, None),
        ([1], 1 | IMPLAUSIBLE.bit, 1),
        ([1, 2], 1 | int(Flag.LATE), None),
    ],
)
def test_it_is_told_once_three_of_five_fired_or_a_rule(ordinals: list[int], flags: int, told_at: int | None) -> None:
    """Breaks when single readings wake people, or a fault is told late."""
    fold = Fold(POLICY)
    for at in ordinals:
        fold.add([anomaly(1, at, START_MS + 1000 * at, flags=flags, offset=at)])
    (row,) = fold.open.values()
    assert row.notified_ms == (None if told_at is None else START_MS + 1000 * told_at)


@pytest.mark.parametrize(
    ("readings", "quiet_ms", "closed"),
    [(12, 20_000, True), (11, 20_000, True), (12, 19_999, False), (10, 10**6, False), (0, 10**6, True)],
)
def test_it_closes_when_it_can_grow_no_more_and_was_quiet(readings: int, quiet_ms: int, closed: bool) -> None:
    """Breaks when an alarm flaps, or one that could still grow is over."""
    fold = Fold(POLICY)
    fold.add([anomaly(1, 100, START_MS)])
    # Fewer readings than before: the station began anew.
    count = 100 + readings if readings else 3
    fold.close({"s1": Heard("s1", START_MS + quiet_ms, count, 1.0)})
    (row,) = fold.open.values()
    assert row.closed_ms == (START_MS + POLICY.quiet_ms if closed else None)


def test_an_alarm_stays_on_while_nobody_hears_its_station() -> None:
    """Breaks when a station that was cut off in the middle of a fault counts as healed."""
    fold = Fold(POLICY)
    fold.add([anomaly(1, 1, START_MS)])
    assert fold.close({}) == set()
    assert fold.close({"s1": Heard("s1", START_MS, 1, 1.0)}) == set()


def test_a_closed_alarm_that_grows_after_all_is_open_again() -> None:
    """Breaks when readings of an open fault hide behind an alarm that is over."""
    fold = Fold(POLICY)
    fold.add([anomaly(1, 1, START_MS)])
    fold.close({"s1": Heard("s1", START_MS + 10**6, 300, 1.0)})
    fold.add([anomaly(1, 2, START_MS + 1000, offset=1)])
    (row,) = fold.open.values()
    assert (row.readings, row.closed_ms) == (2, None)


def test_the_worst_reading_speaks_and_what_stays_grows_worse() -> None:
    """Breaks when an alarm tells of its first reading only, or a long warning stays a warning."""
    fold = Fold(POLICY)
    for at, severity in ((1, 20.0), (2, 50.0), (3, 30.0)):
        fold.add([anomaly(1, at, START_MS + 1000 * at, severity, offset=at)])
    (row,) = fold.open.values()
    assert (row.sentence, row.action, row.sensor) == ("sentence 2", "advice 2", "sensor-2")
    assert (row.worst_severity, row.worst_seq) == (50.0, 2)
    assert 50.0 < row.severity < 51.0
    assert [round(escalated(10.0, minutes * 60_000)) for minutes in (0, 30, 60)] == [10, 55, 78]
    assert escalated(0.0, 10**12) <= 100.0


@pytest.mark.parametrize(
    ("verdict", "sentence", "advice"),
    [
        ("", "", ""),
        ("not json", "", ""),
        ("[1]", "", ""),
        ('{"explanation": "x", "action": "y"}', "x", "y"),
        ('{"explanation": null, "action": {"text": "y"}}', "", "y"),
    ],
)
def test_whatever_release_wrote_a_verdict_it_is_read(verdict: str, sentence: str, advice: str) -> None:
    """Breaks when an old row stops the process."""
    assert said(verdict) == (sentence, advice)
