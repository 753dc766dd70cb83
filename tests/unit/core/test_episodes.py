"""Episodes: alarms, tests and evaluation count alarms by this one definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.episodes import AGAIN, GAP, counted, episodes

Row = tuple[int, int, bool]


def by_loop(rows: list[Row]) -> list[tuple[int, int, int, int, int]]:
    """(station, start, end, readings, counts) of each episode, written as the definition reads."""
    found: list[list[int]] = []
    for station, ordinal, flagged in sorted(rows):
        if not flagged:
            continue
        if found and found[-1][0] == station and ordinal - found[-1][2] <= GAP:
            found[-1][2] = ordinal
            found[-1][3] += 1
        else:
            found.append([station, ordinal, ordinal, 1])
    return [(s, a, b, n, len(range(a, b + 1, AGAIN))) for s, a, b, n in found]


rows_of_readings = st.lists(
    st.tuples(st.integers(0, 3), st.integers(1, 400), st.booleans()), max_size=120, unique_by=lambda row: row[:2]
)


@given(rows_of_readings)
def test_the_same_as_a_plain_loop_whatever_the_order_of_rows(rows: list[Row]) -> None:
    station, ordinal, flagged = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    found = episodes(station, ordinal, flagged.astype(bool))
    columns = (found.station, found.start, found.end, found.readings, found.counts)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == by_loop(rows)
    assert [(s, o) for s, o in zip(station[found.first], ordinal[found.first], strict=True)] == [
        (s, a) for s, a, *_ in by_loop(rows)
    ]
    assert ordinal[found.last].tolist() == found.end.tolist()
    assert found.count == sum(counts for *_, counts in by_loop(rows))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, GAP)), max_size=150))
def test_an_episode_counts_at_as_many_rows_as_it_counts(steps: list[tuple[int, int]]) -> None:
    station = np.array([code for code, _ in steps], dtype=np.int64)
    ordinal = np.cumsum([step for _, step in steps]).astype(np.int64)
    flagged = np.ones(len(steps), dtype=bool)
    rows = counted(station, ordinal, flagged)
    assert rows.sum() == episodes(station, ordinal, flagged).count


def test_a_gap_of_ten_joins_and_one_of_eleven_parts() -> None:
    flagged = [True, True]
    assert len(episodes([1, 1], [5, 15], flagged)) == 1
    assert len(episodes([1, 1], [5, 16], flagged)) == 2
    assert len(episodes([1, 2], [5, 6], flagged)) == 2


def test_one_that_stays_on_counts_again_every_sixty_readings() -> None:
    ordinal = np.arange(1, 122)
    on = np.ones(121, dtype=bool)
    assert episodes(np.zeros(121, int), ordinal, on).count == 3
    assert ordinal[counted(np.zeros(121, int), ordinal, on)].tolist() == [1, 61, 121]
    assert episodes(np.zeros(60, int), ordinal[:60], on[:60]).count == 1


def test_nothing_flagged_is_no_episode() -> None:
    assert episodes([0, 0], [1, 2], [False, False]).count == 0
    assert not counted([0, 0], [1, 2], [False, False]).any()
    assert len(episodes([], [], [])) == 0


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="must be"):
        episodes([0, 0], [1, 2], [True])
