"""Training gives usable numbers from good, poor and odd histories, and a detector that knows clean from faulty."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.errors import StationwatchError
from core.sensors import DEFAULT_SENSORS, Sensor
from models.kernels.columns import CROSS_BAND, INNOVATION, LEVEL
from models.kernels.statistics_kernel import CLUSTERS, episodes_per_day
from models.scoring.detector import Detector
from models.scoring.features import FEATURES
from models.scoring.history import History
from models.scoring.isolation_forest import PackedForest
from models.scoring.shard_state import ShardState
from models.scoring.station_prior import Prior
from models.training.fit import fit_detector, fit_prior
from models.training.fit_prior import settled_rows, without_scraps
from models.training.tail_limits import Tail, forest_limit, rate_of, witness_tail
from tests.unit.models.histories import START_MS, make_history

BUDGET = 1.0


def trained(history: History, sensors: tuple[Sensor, ...], trees: int = 50) -> tuple[Prior, Detector]:
    prior = fit_prior(history, sensors, BUDGET)
    forest, spec = fit_detector(history, sensors, prior, trees=trees, budget=BUDGET, rng=np.random.default_rng(7))
    return prior, Detector(spec, PackedForest.from_sklearn(forest, FEATURES))


@pytest.fixture(scope="module")
def plant() -> tuple[History, Prior, Detector]:
    history = make_history(np.random.default_rng(1), stations=10, readings=1500)
    return history, *trained(history, DEFAULT_SENSORS)


def test_prior_finds_what_the_stations_were_made_of(plant: tuple[History, Prior, Detector]) -> None:
    """Breaks when a spread is not the station's own, such as one that contains the differences between stations."""
    _, prior, _ = plant
    assert prior.cadence == 1.0
    # White noise of 1 and a walk of 0.02 a step.
    np.testing.assert_allclose(prior.spread[:, INNOVATION], 1.08, rtol=0.05)
    np.testing.assert_allclose(prior.spread[:, LEVEL], 1.05, rtol=0.08)
    # Sensors that say nothing of each other: what is left of a band by the others' is the band itself.
    np.testing.assert_allclose(prior.spread[:, CROSS_BAND], 0.9, rtol=0.1)
    np.testing.assert_allclose(prior.floor, 0.01)
    np.testing.assert_allclose(prior.resolution, 0.1)
    correlation = prior.covariance[0] / np.sqrt(np.outer(np.diag(prior.covariance[0]), np.diag(prior.covariance[0])))
    assert (np.abs(correlation - np.eye(3)) < 0.1).all()
    # The tails of a Gaussian, but for levels that wander with the walk.
    np.testing.assert_allclose(prior.tail_start[:, :LEVEL], 2.33, atol=0.2)
    # As wide as the excursions of 15,000 readings leave room for, and 1,500 s of a station for what takes longer.
    room = 1.0 + 1.5 * np.sqrt(np.array(CLUSTERS[:LEVEL]) / (0.02 * 15_000))
    expected = 0.34 * room * (1.0 + np.sqrt(30.0 / 1_500.0))
    np.testing.assert_allclose(prior.tail_excess[:, :LEVEL], np.tile(expected, (3, 1)), rtol=0.25)
    assert ((prior.tail_start > 1.9) & (prior.tail_start < 3.5)).all()
    assert ((prior.tail_shape >= -0.1) & (prior.tail_shape <= 0.1)).all()
    assert (prior.run_limit == 8).all()


def test_prior_survives_its_bytes(plant: tuple[History, Prior, Detector]) -> None:
    """Breaks when training gives a number that `Prior` refuses to read back."""
    prior = plant[1]
    assert Prior.from_bytes(prior.to_bytes()).sha256 == prior.sha256


def test_prior_does_not_depend_on_where_the_history_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when a pass loses or doubles readings at the border of two parts."""
    history = make_history(np.random.default_rng(2), stations=3, readings=300)
    whole = fit_prior(history, DEFAULT_SENSORS, BUDGET)
    original = History.parts
    monkeypatch.setattr(History, "parts", lambda self: original(self, 101))
    assert fit_prior(history, DEFAULT_SENSORS, BUDGET).to_bytes() == whole.to_bytes()


def test_same_seed_same_detector() -> None:
    """Breaks when something is drawn from anything but the rng."""
    history = make_history(np.random.default_rng(3), stations=3, readings=300)
    first, second = (trained(history, DEFAULT_SENSORS)[1].to_bytes() for _ in range(2))
    assert first == second


def test_clean_readings_of_unknown_stations_are_rarely_flagged(plant: tuple[History, Prior, Detector]) -> None:
    """Breaks when a limit or the forest's threshold is far too low. 36,000 readings have a budget of 3 episodes."""
    _, prior, detector = plant
    fresh = make_history(np.random.default_rng(4), stations=20, readings=1800)
    verdicts = detector.judge(ShardState(DEFAULT_SENSORS, prior).take(fresh).blocks)
    assert verdicts.is_anomaly.sum() <= 36


@pytest.mark.parametrize("before", [60, 600])
@pytest.mark.parametrize("sensor", [0, 1, 2])
def test_ten_sigma_spike_is_flagged(plant: tuple[History, Prior, Detector], before: int, sensor: int) -> None:
    """Breaks when a young or a warmed-up station does not answer to a fault that anybody sees."""
    _, prior, detector = plant
    fresh = make_history(np.random.default_rng(5), stations=20, readings=before + 1)
    fresh.values[-20:, sensor] += 10.0 * np.where(np.arange(20) % 2, 1.0, -1.0)
    blocks = ShardState(DEFAULT_SENSORS, prior).take(fresh).blocks
    assert detector.judge(blocks.take(np.arange(len(fresh) - 20, len(fresh)))).is_anomaly.all()


def test_the_forest_can_fire(plant: tuple[History, Prior, Detector]) -> None:
    """Breaks when the threshold lies beyond every score, which an exponential tail of the scores leads to."""
    _, _, detector = plant
    far = np.full((1, len(detector.forest.feature_names)), 20.0)
    assert detector.forest.anomaly_score(far)[0] > detector.spec.forest_threshold > detector.spec.forest_typical


def reach(prior: Prior) -> np.ndarray:
    """How far each witness may go one time in 100,000 readings, in its own unit."""
    tails = zip(prior.tail_start.flat, prior.tail_excess.flat, prior.tail_shape.flat, strict=True)
    far = np.array([Tail(*tail).at(1e-5) for tail in tails]).reshape(prior.spread.shape)
    return prior.spread * far


def test_faults_in_training_hardly_move_the_limits() -> None:
    """Breaks when the spread or the tail is a plain mean: a spike in a thousand readings must not blind the version."""
    clean = make_history(np.random.default_rng(6), stations=5, readings=1000)
    dirty = History(clean.station_ids, clean.event_ms, clean.record_ms, clean.seq, clean.values.copy())
    hit = np.random.default_rng(7).random(len(dirty)) < 0.001
    dirty.values[hit, 0] += 30.0
    clean_prior, dirty_prior = (fit_prior(history, DEFAULT_SENSORS, BUDGET) for history in (clean, dirty))
    clean_reach, dirty_reach = (reach(prior) for prior in (clean_prior, dirty_prior))
    assert (dirty_reach[0] < 1.6 * clean_reach[0]).all()


def test_a_stuck_station_in_training_does_not_switch_the_rule_off() -> None:
    """Breaks when the longest run of one station sets the limit of all."""
    history = make_history(np.random.default_rng(8), stations=20, readings=300)
    stuck = np.flatnonzero(np.array(history.station_ids) == "s3")[50:200]
    history.values[stuck, 1] = 20.0
    assert fit_prior(history, DEFAULT_SENSORS, BUDGET).run_limit[1] <= 12


def test_still_sensor_switches_the_stuck_rule_off_and_one_step_is_no_anomaly() -> None:
    """Breaks when a sensor that rests by nature is called stuck, or its first step an anomaly."""
    history = make_history(np.random.default_rng(9), stations=4, readings=300)
    history.values[:, 2] = 40.0
    prior, detector = trained(history, DEFAULT_SENSORS)
    assert np.isinf(prior.run_limit[2])
    fresh = make_history(np.random.default_rng(10), stations=1, readings=200)
    fresh.values[:, 2] = 40.0
    fresh.values[-1, 2] = 40.1
    verdicts = detector.judge(ShardState(DEFAULT_SENSORS, prior).take(fresh).blocks)
    assert not verdicts.is_anomaly[-1]


def test_sensor_without_values_has_to_show_itself() -> None:
    """Breaks when an all-missing sensor gives NaN, or a spread or a limit out of nothing."""
    history = make_history(np.random.default_rng(11), stations=3, readings=200)
    history.values[:, 1] = np.nan
    prior, detector = trained(history, DEFAULT_SENSORS)
    assert np.isinf(prior.run_limit[1]) and np.isinf(prior.missing_limit[1])
    assert (prior.spread[1] == 0).all() and (prior.spread[[0, 2]] > 0).all() and (prior.floor > 0).all()
    assert detector.spec.sensors == ("temperature", "noise")
    fresh = make_history(np.random.default_rng(23), stations=1, readings=100)
    blocks = ShardState(DEFAULT_SENSORS, prior).take(fresh).blocks
    judged = (blocks.witnesses("ratio") != 0.0).any(axis=2)
    assert not judged[:30, 1].any() and judged[30:, 1].all() and judged[1:, [0, 2]].all()
    assert not detector.judge(blocks).is_anomaly.any()
    Prior.from_bytes(prior.to_bytes())


def test_resolution_is_learnt_where_it_is_not_configured() -> None:
    """Breaks when an unknown resolution leaves the floor at nothing: a still sensor's flicker is no anomaly."""
    sensors = tuple(replace(sensor, resolution=0.0) for sensor in DEFAULT_SENSORS)
    history = make_history(np.random.default_rng(12), stations=3, readings=200, resolution=0.5)
    prior = fit_prior(history, sensors, BUDGET)
    np.testing.assert_allclose(prior.resolution, 0.5, rtol=1e-3)
    np.testing.assert_allclose(prior.floor, 0.1 * 0.5, rtol=1e-3)


@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_fifty_readings_of_one_station_give_a_model(missing: float) -> None:
    """Breaks when a small history ends in a traceback, or in limits that flag everything."""
    rng = np.random.default_rng(13)
    history = make_history(rng, stations=1, readings=50)
    history.values[rng.random(history.values.shape) < missing] = np.nan
    prior, detector = trained(history, DEFAULT_SENSORS)
    assert ((reach(prior) >= 3 * prior.spread) & (reach(prior) < 12 * prior.spread)).all()
    fresh = make_history(rng, stations=10, readings=500)
    assert detector.judge(ShardState(DEFAULT_SENSORS, prior).take(fresh).blocks).is_anomaly.mean() < 0.02


@pytest.mark.parametrize(("stations", "readings"), [(1, 29), (40, 1)])
def test_too_little_history_is_refused_in_one_sentence(stations: int, readings: int) -> None:
    """Breaks when a hopeless history gives a model or a traceback of numpy."""
    history = make_history(np.random.default_rng(14), stations=stations, readings=readings)
    with pytest.raises(StationwatchError, match=r"needs at least 30|two readings"):
        fit_prior(history, DEFAULT_SENSORS, BUDGET)


def test_history_without_values_is_refused_in_one_sentence() -> None:
    """Breaks when an all-empty file gives a model."""
    history = make_history(np.random.default_rng(15), stations=2, readings=50)
    history.values[:] = np.nan
    prior = fit_prior(history, DEFAULT_SENSORS, BUDGET)
    with pytest.raises(StationwatchError, match="no value of any sensor"):
        fit_detector(history, DEFAULT_SENSORS, prior, trees=10, budget=BUDGET, rng=np.random.default_rng(1))


def test_more_than_three_sensors() -> None:
    """Breaks when something counts to three."""
    sensors = tuple(Sensor(f"sensor_{number}", resolution=0.1) for number in range(5))
    prior, detector = trained(make_history(np.random.default_rng(16), stations=3, readings=200, sensors=5), sensors)
    fresh = make_history(np.random.default_rng(24), stations=1, readings=300, sensors=5)
    fresh.values[-1, 4] += 12.0
    verdicts = detector.judge(ShardState(sensors, prior).take(fresh).blocks)
    assert verdicts.is_anomaly[-1] and not verdicts.is_anomaly[:-1].any()


def test_a_given_prior_is_kept() -> None:
    """Breaks when a later training fits its thresholds under another prior than the stream's."""
    early = make_history(np.random.default_rng(17), stations=4, readings=300, cadence=60.0)
    prior = fit_prior(early, DEFAULT_SENSORS, BUDGET)
    later = make_history(np.random.default_rng(18), stations=4, readings=300, cadence=60.0)
    _, spec = fit_detector(later, DEFAULT_SENSORS, prior, trees=20, budget=BUDGET, rng=np.random.default_rng(1))
    assert spec.trained["readings"] == 1200 and prior.cadence == 60.0


def test_readings_after_a_gap_are_not_settled() -> None:
    """Breaks when the seams of a history of stretches are taken for how stations behave."""
    history = stretched(300, 300)
    settled = settled_rows(history, history.by_station())
    assert settled[:600].all() and not settled[600:800].any() and settled[800:].all()


def stretched(*readings: int) -> History:
    """Stretches of two stations, two hours apart, of so many readings of each."""
    parts = [
        make_history(np.random.default_rng(19), stations=2, readings=number, start_ms=START_MS + at * 7_200_000)
        for at, number in enumerate(readings)
    ]
    names = [name for part in parts for name in part.station_ids]
    event_ms, values = (np.concatenate([getattr(part, field) for part in parts]) for field in ("event_ms", "values"))
    return History(names, event_ms, event_ms, np.arange(len(names)), values)


def test_scraps_are_left_out_beside_longer_stretches() -> None:
    """Breaks when a stretch in which nobody settles is a lesson, or a history of nothing else teaches nothing."""
    history = stretched(300, 90, 300, 102, 100)
    left = without_scraps(history)
    assert len(left) == 2 * 702
    np.testing.assert_array_equal(left.event_ms, history.event_ms[np.r_[:600, 780:1584]])
    assert [part.tolist() for part in (left.seq[598:602], left.values[600])] == [
        [598, 599, 780, 781], history.values[780].tolist()
    ]  # fmt: skip
    assert left.station_ids[600:602] == ["s0", "s1"]
    for kept in (stretched(60), stretched(60, 60, 90), stretched(300, 102)):
        assert without_scraps(kept) is kept
    history = make_history(np.random.default_rng(20), stations=3, readings=900)
    one_is_silent = history.take((np.array(history.station_ids) != "s1") | (history.seq % 60 < 40))
    assert without_scraps(one_is_silent) is one_is_silent


def test_budget_grows_less_than_the_rate_for_fast_stations() -> None:
    """Breaks when a faster cadence multiplies alarms, or a slower one keeps them."""
    assert episodes_per_day(1.0, 60.0) == pytest.approx(1.0)
    assert episodes_per_day(1.0, 1.0) == pytest.approx(5.14, abs=0.01)
    assert episodes_per_day(2.0, 300.0) == pytest.approx(0.4)
    assert rate_of(1.0, 1.0, 7) == pytest.approx(5.14 / 86_400 / 7, rel=1e-3)


@pytest.mark.parametrize("rate", [1e-4, 1e-5])
def test_limit_of_a_gaussian_is_about_its_quantile(rate: float) -> None:
    """Breaks when the tail is extrapolated with the wrong shape."""
    values = np.abs(np.random.default_rng(20).normal(size=200_000))
    exact = {1e-4: 3.89, 1e-5: 4.42}[rate]
    assert witness_tail(values, 1.0).at(rate) == pytest.approx(exact, rel=0.04)


def test_few_values_hardly_move_a_tail() -> None:
    """Breaks when fifty readings decide alone how far a witness may go, or none leave it without a limit."""
    usual = witness_tail(np.zeros(0), 1.0)
    assert usual.at(1e-5) == pytest.approx(4.42, rel=0.04)
    wild = witness_tail(np.abs(np.random.default_rng(21).normal(size=50)) * 3.0, 1.0)
    assert wild.at(1e-5) == pytest.approx(usual.at(1e-5), rel=0.25)


def test_limits_of_values_that_never_move() -> None:
    """Breaks when a tail without width divides by zero."""
    assert 0.0 < witness_tail(np.zeros(5000), 1.0).at(1e-5) < 3.0
    assert forest_limit(np.full(100, 0.4), 1e-5) == pytest.approx(0.4)
