"""Evaluation: a figure in the docs is only as good as what it counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from core.episodes import episodes
from models.evaluation.evaluation import Labels, Outcome, evaluate, point_auc
from models.evaluation.scored_rows import Scored, score_threshold

MINUTE = 60_000
N = 1440


def rows(flagged: Sequence[int], n: int = N, station: int = 3, score: np.ndarray | None = None) -> Scored:
    """One station at a reading a minute, the first 100 rows for training."""
    flags = np.zeros(n, dtype=bool)
    flags[list(flagged)] = True
    scores = flags.astype(float) if score is None else score
    return Scored(np.full(n, station), np.arange(n) * MINUTE, scores, flags, np.arange(n) >= 100)


def labels(*faults: tuple[str, int, int], station: int = 3, magnitude: float = 4.0) -> Labels:
    """Faults as (kind, first row, row behind the last)."""
    kinds = [kind for kind, _, _ in faults]
    start = np.array([first for _, first, _ in faults], dtype=np.int64) * MINUTE
    end = np.array([last for _, _, last in faults], dtype=np.int64) * MINUTE
    return Labels(np.full(len(faults), station), kinds, np.full(len(faults), magnitude), start, end)


NO_LABELS = labels()


def shuffled(scored: Scored, seed: int = 0) -> Scored:
    order = np.random.default_rng(seed).permutation(len(scored.station))
    return Scored(*(getattr(scored, name)[order] for name in ("station", "time_ms", "score", "flagged", "judged")))


def test_a_fault_is_found_within_its_span_and_not_behind_it() -> None:
    outcome = evaluate(rows([300, 420, 509]), labels(("shift", 290, 310), ("shift", 400, 420), ("shift", 500, 510)))
    assert outcome.found.tolist() == [True, False, True]
    assert outcome.delay[outcome.found].tolist() == [10.0, 9.0]
    assert outcome.delay_seconds[outcome.found].tolist() == [600.0, 540.0]
    assert outcome.summary("shift")["recall"] == pytest.approx(2 / 3)
    assert outcome.summary("shift")["median_delay"] == 9.5


@pytest.mark.parametrize(("kind", "found"), [("spike", True), ("dip", True), ("drift", False)])
def test_only_the_shortest_kinds_may_be_confirmed_behind_their_end(kind: str, found: bool) -> None:
    assert evaluate(rows([302]), labels((kind, 300, 301))).found.tolist() == [found]
    assert evaluate(rows([303]), labels((kind, 300, 301))).found.tolist() == [False]


def test_false_alarms_are_counted_on_clean_rows_only() -> None:
    # Training row, fault, aftermath, then clean rows: two alarms, one of which stays on and counts again.
    flagged = [50, 300, 315, *range(600, 661), 1000]
    outcome = evaluate(rows(flagged), labels(("shift", 290, 310)))
    clean = N - 100 - 20 - 60
    assert outcome.station_days == pytest.approx(clean / 1440)
    assert outcome.false_alarms == 3
    assert outcome.false_alarms_per_day == pytest.approx(3 / (clean / 1440))
    assert outcome.clean_flagged == pytest.approx(62 / clean)
    assert outcome.aftermath_flagged == pytest.approx(1 / 60)


def test_an_alarm_that_outlasts_the_fault_is_no_second_one_but_a_later_one_is() -> None:
    fault = labels(("shift", 290, 310))
    assert evaluate(rows(range(300, 320)), fault).aftermath_alarms == 0.0
    assert evaluate(rows([300, 340]), fault).aftermath_alarms == 1.0


def test_order_of_rows_and_station_codes_mean_nothing() -> None:
    scored, faults = rows([300, 700]), labels(("shift", 290, 310))
    plain, mixed = evaluate(scored, faults), evaluate(shuffled(scored), faults)
    moved = evaluate(replace(scored, station=scored.station + 40), replace(faults, station=faults.station + 40))
    for other in (mixed, moved):
        assert (other.found.tolist(), other.false_alarms) == (plain.found.tolist(), plain.false_alarms)


def test_alarms_of_another_station_find_nothing() -> None:
    one, other = rows([], station=3), rows([300], station=4)
    columns = (
        np.concatenate([getattr(part, name) for part in (one, other)])
        for name in ("station", "time_ms", "score", "flagged", "judged")
    )
    assert not evaluate(Scored(*columns), labels(("shift", 290, 310))).found.any()


def test_faults_of_training_rows_or_unknown_stations_are_left_out() -> None:
    assert len(evaluate(rows([50]), labels(("shift", 20, 90))).labels) == 0
    assert len(evaluate(rows([50]), labels(("shift", 300, 310), station=9)).labels) == 0


def test_without_faults_there_are_only_false_alarms() -> None:
    outcome = evaluate(rows([200, 900]), NO_LABELS)
    assert outcome.false_alarms == 2
    assert outcome.summary() == {"faults": 0}
    assert np.isnan(outcome.auc)


def many(seed: int, flag: float) -> tuple[Scored, Labels]:
    """A fault of 60 rows in every 500, and flags at random."""
    rng, n = np.random.default_rng(seed), 200_000
    score = rng.random(n)
    scored = Scored(np.zeros(n, int), np.arange(n) * MINUTE, score, score > 1 - flag, np.arange(n) >= 100)
    return scored, labels(*(("drift", first, first + 60) for first in range(400, n - 600, 500)), station=0)


def test_random_alarms_find_nothing_net_of_chance() -> None:
    outcome = evaluate(*many(1, 0.01))
    whole = outcome.summary()
    assert whole["recall"] == pytest.approx(1 - 0.99**60, abs=0.06)
    assert whole["chance"] == pytest.approx(1 - 0.99**60, abs=0.02)
    assert abs(whole["net_recall"]) < 0.12
    assert outcome.auc == pytest.approx(0.5, abs=0.01)


def test_an_always_late_alarm_earns_nothing_by_luck() -> None:
    # It fires 100 readings behind each fault, hence within the next fault whenever that follows soon.
    scored, faults = many(1, 0.0)
    late = np.zeros(len(scored.flagged), dtype=bool)
    late[faults.end_ms // MINUTE + 100] = True
    outcome = evaluate(replace(scored, flagged=late), faults)
    assert outcome.summary()["recall"] == 0.0
    assert outcome.summary()["chance"] == pytest.approx(60 / (440 - 59), abs=0.02)


def test_chance_is_the_share_of_all_stretches_of_that_length() -> None:
    outcome = evaluate(rows([700, 705]), labels(("shift", 290, 310), ("drift", 310, 400)))
    free = [(100, 290), (400, N)]
    for length, chance in zip((20, 90), outcome.chance, strict=True):
        stretches = [range(at, at + length) for first, last in free for at in range(first, last - length + 1)]
        assert chance == pytest.approx(np.mean([700 in s or 705 in s for s in stretches]))


def test_the_score_alone_is_judged_at_the_false_alarms_allowed() -> None:
    score = np.zeros(N)
    score[[300, 420, 800, 1000, 1200]] = [0.5, 0.95, 0.9, 0.7, 0.4]
    faults = labels(("shift", 290, 310), ("shift", 400, 430))
    none = evaluate(rows([], score=score), faults, episodes_allowed=0.5)
    assert (none.score_threshold, none.found_by_score.tolist()) == (0.9, [False, True])
    assert not none.found.any()
    both = evaluate(rows([], score=score), faults, episodes_allowed=3.0)
    assert (both.score_threshold, both.found_by_score.tolist()) == (0.4, [True, True])


def test_the_threshold_is_the_least_that_keeps_to_what_is_allowed() -> None:
    rng = np.random.default_rng(4)
    station, ordinal, score = np.repeat([0, 1], 3000), np.tile(np.arange(3000), 2), rng.random(6000).round(3)
    threshold = score_threshold(station, ordinal, score, 20)
    assert episodes(station, ordinal, score > threshold).count <= 20
    assert episodes(station, ordinal, score > threshold - 0.001).count > 20
    assert score_threshold(station[:0], ordinal[:0], score[:0], 20) == np.inf


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="2 of 1440 scores are NaN"):
        evaluate(rows([], score=np.where(np.arange(N) < 2, np.nan, 0.0)), NO_LABELS)


def test_auc_needs_both_kinds_of_rows() -> None:
    score = np.array([0.1, 0.2, 0.9, 0.8])
    assert point_auc(score, np.array([False, False, True, True])) == 1.0
    assert np.isnan(point_auc(score, np.ones(4, dtype=bool)))


def test_cells_by_kind_and_magnitude() -> None:
    faults = replace(labels(("shift", 290, 310), ("drift", 600, 700)), magnitude=np.array([2.0, 6.0]))
    outcome: Outcome = evaluate(rows([300]), faults)
    assert outcome.summary("shift", 2.0)["recall"] == 1.0
    assert outcome.summary("drift", 6.0)["recall"] == 0.0
    assert outcome.summary("shift", 6.0) == {"faults": 0}
