"""NAB's score by hand: without this, figures could not be held beside published ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.detection.nab import LabelledSeries, nab_score, probation, row_worth, scaled_sigmoid

N = 200  # 30 rows of probation
WINDOW = (100, 109)


def flagged(*rows: int, n: int = N) -> np.ndarray:
    score = np.zeros(n)
    score[list(rows)] = 1.0
    return score


def worth_of(*rows: int) -> float:
    return nab_score([LabelledSeries(flagged(*rows), [WINDOW])], threshold=1.0).score


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


def test_silence_is_0_and_perfection_100() -> None:
    series = [LabelledSeries(np.full(N, 0.5), [WINDOW]), LabelledSeries(np.zeros(N), [])]
    silent = nab_score(series)
    assert silent.score == 0.0
    assert math.isinf(silent.threshold)
    assert (silent.windows, silent.found) == (1, 0)
    perfect = nab_score([LabelledSeries(flagged(100), [WINDOW]), LabelledSeries(np.zeros(N), [])])
    assert perfect.score == pytest.approx(100.0)
    assert (perfect.found, perfect.false_rows, perfect.threshold) == (1, 0, 1.0)


def test_the_middle_of_a_window_gives_what_the_sigmoid_says() -> None:
    # Row 105 of 100..109: position -(109 - 105 + 1) / 10 = -0.5, and 2 * 0.92414 - 1 = 0.84828 over 0.98661.
    assert worth_of(105) == pytest.approx(100 * (0.84828 / 0.98661 + 1) / 2, abs=1e-3)
    assert worth_of(105, 108) == worth_of(105), "only the best row of a window counts"


def test_false_alarms_cost_less_just_behind_a_window() -> None:
    assert worth_of(50) == pytest.approx(-100 * 0.11 / 2)
    # Row 118: nine rows behind a window whose width less one is nine.
    assert worth_of(118) == pytest.approx(-100 * 0.11 * (1 - 2 * sigmoid(-5)) / 2)
    assert worth_of(109 + 27) == pytest.approx(-100 * 0.11 / 2)


def test_probation_is_not_judged() -> None:
    assert probation(200) == 30
    assert probation(18_050) == 750
    assert worth_of(29) == 0.0
    assert worth_of(30) < 0.0


def test_the_threshold_is_the_best_one_over_all_series() -> None:
    first, second = flagged(100), flagged(100)
    first[50] = 0.9  # lower threshold: one false alarm more, and the other window found
    second[100] = 0.8
    found = nab_score([LabelledSeries(first, [WINDOW]), LabelledSeries(second, [WINDOW])])
    assert found.threshold == 0.8
    assert found.score == pytest.approx(100 * (4 - 0.11) / 4)


def test_sigmoid_as_the_paper_says() -> None:
    positions = np.array([-1.0, -0.5, 0.0, 1.0, 3.0, 9.0])
    assert scaled_sigmoid(positions) == pytest.approx([0.98661, 0.84828, 0.0, -0.98661, -1.0, -1.0], abs=1e-5)


def test_windows_that_overlap_or_leave_the_series_are_refused() -> None:
    with pytest.raises(ValueError, match="window 1 is rows 105 to 120"):
        row_worth(N, [WINDOW, (105, 120)])
    with pytest.raises(ValueError, match="window 0"):
        row_worth(N, [(190, 200)])


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="1 of 170 scores are NaN"):
        nab_score([LabelledSeries(np.where(np.arange(N) == 40, np.nan, 0.0), [WINDOW])])


@settings(max_examples=40)
@given(st.lists(st.sampled_from([0.0, 0.2, 0.4, 0.6, 1.0]), min_size=60, max_size=60), st.integers(12, 30))
def test_the_same_as_trying_each_threshold(score: list[float], first: int) -> None:
    windows = [(first, first + 6), (first + 15, first + 20)]
    worth, window = row_worth(60, windows)
    totals = {math.inf: -2.0}
    for threshold in sorted(set(score[9:])):
        rows = [row for row in range(9, 60) if score[row] >= threshold]
        total = sum(worth[row] for row in rows if window[row] < 0)
        for number in (0, 1):
            total += max((worth[row] for row in rows if window[row] == number), default=-1.0)
        totals[threshold] = total
    found = nab_score([LabelledSeries(np.array(score), windows)])
    assert found.score == pytest.approx(100 * (max(totals.values()) + 2) / 4)
