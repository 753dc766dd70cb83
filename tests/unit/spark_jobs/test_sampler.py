"""The sample is a property of the readings: neither load nor the cut into batches changes it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from spark_jobs.tasks.sampler import accepted_hashes, rows_of_share, slots_and_ranks, winners


def accepted(count: int, parts: int) -> pa.Table:
    """Readings of three stations, in chunks with a dictionary of their own each."""
    chunks = []
    for rows in np.array_split(np.arange(count), parts):
        names = [f"station-{row % 3}" for row in rows.tolist()]
        chunks.append(
            pa.table(
                {
                    "station_id": pa.array(names, pa.string()).dictionary_encode(),
                    "event_ms": pa.array(rows * 1000, pa.int64()),
                    "seq": pa.array(rows, pa.int64()),
                }
            )
        )
    return pa.concat_tables(chunks)


def test_a_hash_does_not_depend_on_where_batches_were_cut() -> None:
    """Breaks when a replay in other batches keeps other samples."""
    whole = accepted_hashes(accepted(300, 1))
    np.testing.assert_array_equal(whole, accepted_hashes(accepted(300, 7)))
    assert len(set(whole.tolist())) == 300
    assert len(accepted_hashes(accepted(0, 1))) == 0


def test_a_share_is_about_as_large_as_it_says_and_grows_by_readings() -> None:
    """Breaks when a larger share leaves out readings of a smaller one, or the share is another one."""
    hashes = accepted_hashes(accepted(20_000, 1))
    tenth, half = (set(rows_of_share(hashes, share).tolist()) for share in (0.1, 0.5))
    assert tenth < half
    assert 1700 < len(tenth) < 2300
    assert len(rows_of_share(hashes, 1.0)) == 20_000
    assert len(rows_of_share(hashes, 0.0)) == 0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(1, 50)), max_size=60))
def test_the_largest_rank_of_each_combination_wins(rows: list[tuple[int, int, int]]) -> None:
    """Breaks when a slot holds two readings, none, or one of a smaller rank."""
    minute, slot, rank = (np.array([row[place] for row in rows], np.uint64) for place in range(3))
    best: dict[tuple[int, int], int] = {}
    for first, second, third in rows:
        best[first, second] = max(best.get((first, second), 0), third)
    chosen = winners(rank, minute, slot)
    assert [(int(minute[row]), int(slot[row])) for row in chosen] == sorted(best)
    assert [int(rank[row]) for row in chosen] == [best[key] for key in sorted(best)]


def test_slots_and_ranks_are_within_what_the_table_holds() -> None:
    """Breaks when a rank is 0, or does not fit a write time of Cassandra."""
    slot, rank = slots_and_ranks(np.array([0, 1, 2**64 - 1], np.uint64), 32)
    assert slot.max() < 32
    assert rank.min() >= 1 and int(rank.max()) < 2**63
