"""Which version judges which offset."""

from __future__ import annotations

import numpy as np
import pytest

from spark_jobs.tasks.activations import Activations

SWAPPED = Activations({0: [(0, 1), (100, 2)], 1: [(0, 1), (40, 2)]})


def test_a_swap_splits_a_batch_at_its_offset() -> None:
    assert SWAPPED.of(0, np.array([0, 99, 100, 500])).tolist() == [1, 1, 2, 2]


def test_partitions_are_split_each_at_its_own_offset() -> None:
    assert SWAPPED.of(1, np.array([39, 40])).tolist() == [1, 2]


def test_a_batch_needs_every_version_that_judges_a_part_of_it() -> None:
    assert SWAPPED.needed({0: 50, 1: 10}, {0: 150, 1: 20}) == {1, 2}
    assert SWAPPED.needed({0: 100, 1: 40}, {0: 150, 1: 60}) == {2}
    assert SWAPPED.needed({}, {0: 10}) == {1}


def test_a_partition_without_activation_is_an_error_and_not_a_guess() -> None:
    with pytest.raises(KeyError):
        SWAPPED.of(7, np.array([1]))


def test_the_newest_version_is_the_one_activated_last() -> None:
    assert SWAPPED.newest() == 2
    assert Activations({}).newest() is None
    # A rollback activates an older number at a later offset.
    assert Activations({0: [(0, 1), (100, 2), (200, 1)]}).newest() == 1
