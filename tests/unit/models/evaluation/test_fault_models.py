"""Faults bend what they say, where they say, by as much as they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.evaluation.fault_models import KINDS, UNIFORMS, Bend, bend_series, bent

SIGMA = 2.0


def series(rows: int = 400) -> np.ndarray:
    return np.random.default_rng(1).normal(20.0, SIGMA, (rows, 3))


def bend_it(kind: str, magnitude: float = 5.0, start: int = 100, length: int = 200, seed: int = 3) -> tuple:
    clean = series()
    rng = np.random.default_rng(seed)
    broken = bend_series(
        clean, sensor=1, kind=kind, start=start, length=length, magnitude=magnitude, sigma=SIGMA, rng=rng
    )
    return clean, broken


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_named_rows_of_the_named_sensor_change(kind: str) -> None:
    """Breaks if a fault leaks into other sensors, before its start, after its end, or into the caller's array."""
    clean, broken = bend_it(kind)
    touched = np.zeros(clean.shape, dtype=bool)
    touched[100:300, 1] = True
    np.testing.assert_array_equal(broken[~touched], clean[~touched])
    assert not np.array_equal(broken[touched], clean[touched])
    np.testing.assert_array_equal(clean, series())


def test_each_kind_does_what_its_name_says() -> None:
    """Breaks if a kind has another shape or size than documented."""
    part = slice(100, 300)
    change = {kind: (lambda pair: (pair[1] - pair[0])[part, 1])(bend_it(kind)) for kind in KINDS}
    np.testing.assert_allclose(change["spike"], 10.0)
    np.testing.assert_allclose(change["dip"], -10.0)
    np.testing.assert_allclose(np.abs(change["shift"]), 10.0)
    assert len(set(np.sign(change["shift"]))) == 1
    np.testing.assert_allclose(np.abs(change["drift"]), 10.0 * np.arange(1, 201) / 200)
    assert np.isnan(change["dropout"]).all()
    assert 8.0 < change["noise_burst"].std() < 12.0
    assert np.ptp(bend_it("stuck")[1][part, 1]) == 0


def test_shift_and_drift_go_both_ways() -> None:
    """Breaks if the direction is not drawn."""
    signs = {np.sign((lambda pair: pair[1] - pair[0])(bend_it("shift", seed=seed))[150, 1]) for seed in range(20)}
    assert signs == {-1.0, 1.0}


def test_decorrelation_keeps_the_spread_and_loses_the_company() -> None:
    """Breaks if a decorrelated sensor follows the others, jumps at its onset, or has another spread than stated."""
    rng = np.random.default_rng(0)
    common = rng.normal(0, SIGMA, (4000, 1))
    together = 20.0 + common + rng.normal(0, 0.1 * SIGMA, (4000, 3))
    spreads, correlations = [], []
    for seed in range(40):
        broken = bend_series(
            together, sensor=0, kind="decorrelation", start=0, length=4000, magnitude=3.0, sigma=SIGMA,
            rng=np.random.default_rng(seed),
        )  # fmt: skip
        assert broken[0, 0] == pytest.approx(together[0, 0])
        spreads.append(np.sqrt(np.mean((broken[:, 0] - together[0, 0]) ** 2)))
        correlations.append(abs(np.corrcoef(broken[:, 0], broken[:, 1])[0, 1]))
    assert np.mean(spreads) == pytest.approx(SIGMA, rel=0.2)
    assert np.corrcoef(together.T)[0, 1] > 0.9
    assert max(correlations) < 0.2


@given(
    kind=st.sampled_from(KINDS),
    length=st.integers(1, 50),
    magnitude=st.floats(0.1, 20),
    seed=st.integers(0, 2**32 - 1),
)
def test_one_reading_at_a_time_is_the_whole_series(kind: str, length: int, magnitude: float, seed: int) -> None:
    """Breaks if the live form (position known, one reading) and the form over a series are two definitions."""
    rng = np.random.default_rng(seed)
    truth, noise = rng.normal(size=length), rng.normal(size=length)
    bend = Bend.draw([KINDS.index(kind)], [magnitude], [length], rng.random((1, UNIFORMS)))
    whole = bent(truth, np.arange(length), truth[:1], noise, bend)
    live = [
        bent(truth[p : p + 1], np.array([p]), truth[:1], noise[p : p + 1], bend.take(np.array([0])))[0]
        for p in range(length)
    ]
    np.testing.assert_allclose(live, whole, rtol=0, atol=1e-12 * max(1.0, magnitude))


def test_many_faults_at_once_are_each_alone() -> None:
    """Breaks if a tick with faults of all kinds mixes them up."""
    rng = np.random.default_rng(5)
    count = len(KINDS)
    bend = Bend.draw(np.arange(count), np.full(count, 4.0), np.full(count, 30), rng.random((count, UNIFORMS)))
    values, held, noise = rng.normal(size=(3, count))
    together = bent(values, np.full(count, 7), held, noise, bend)
    alone = [bent(values[[i]], np.array([7]), held[[i]], noise[[i]], bend.take(np.array([i])))[0] for i in range(count)]
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize(
    ("kind", "start", "length"), [("melted", 0, 5), ("spike", -1, 5), ("spike", 400, 5), ("spike", 0, 0)]
)
def test_a_fault_that_cannot_be_is_refused(kind: str, start: int, length: int) -> None:
    """Breaks if a misspelt kind or a place outside the series passes silently."""
    with pytest.raises(ValueError, match="fault"):
        bend_it(kind, start=start, length=length)


def test_a_fault_that_outlasts_the_series_is_cut() -> None:
    """Breaks if the cut fault is squeezed into what is left."""
    long = bend_it("drift", start=300, length=1000)
    short = bend_it("drift", start=300, length=100)
    assert abs(long[1][-1, 1] - long[0][-1, 1]) == pytest.approx(1.0)
    assert abs(short[1][-1, 1] - short[0][-1, 1]) == pytest.approx(10.0)
