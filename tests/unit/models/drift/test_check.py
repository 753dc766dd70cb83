"""Drift is an effect that lasts, held against the version's own training at the same hours of the day."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from core.errors import ArtefactRefused
from core.sensors import DEFAULT_SENSORS
from core.verdict import Flag
from models.drift.check import DriftLimits, check_drift
from models.drift.measures import Grid, bounds, kolmogorov_p, shares_by_block
from models.drift.reference import DriftReference, make_reference, mature, reference_of
from models.drift.report import DriftReport
from models.scoring.artefact import load, pack, sha256_of
from models.scoring.detector import Detector
from models.scoring.feature_block import COMMON, PER_SENSOR, SENSOR_WIDTH, Blocks
from models.scoring.feature_samples import HOUR_MS, Samples, samples_of
from models.scoring.features import FEATURES
from models.scoring.isolation_forest import PackedForest
from models.scoring.station_prior import Prior
from models.training.fit import fit_detector, fit_prior
from tests.simulated import DAY, simulated

STATIONS = 20
LIMITS = DriftLimits(window_ms=6 * HOUR_MS, draws=100)
NAMES = tuple(sensor.name for sensor in DEFAULT_SENSORS)


class Plant(NamedTuple):
    prior: Prior
    detector: Detector
    reference: DriftReference
    current: Samples
    now_ms: int


@pytest.fixture(scope="module")
def plant() -> Plant:
    """Two days of training and the 18 hours behind them, of the same stations."""
    whole = simulated(3, 2 * DAY + DAY * 3 // 4)
    cut = 2 * DAY * STATIONS
    training = next(iter(whole.parts(cut)))
    prior = fit_prior(training, DEFAULT_SENSORS, 1.0)
    rng = np.random.default_rng(1)
    forest, spec = fit_detector(training, DEFAULT_SENSORS, prior, trees=20, budget=1.0, rng=rng)
    detector = Detector(spec, PackedForest.from_sklearn(forest, FEATURES))
    shown = samples_of(whole, DEFAULT_SENSORS, prior, len(whole))
    limit_ms = int(training.event_ms[-1]) + 1
    reference = make_reference(shown.between(0, limit_ms), detector, np.random.default_rng(2))
    current = shown.between(limit_ms, 2**60)
    return Plant(prior, detector, reference, current, int(whole.event_ms[-1]) + 1)


def report(plant: Plant, samples: Samples, limits: DriftLimits = LIMITS, **changes: object) -> DriftReport:
    reference = changes.get("reference", plant.reference)
    assert reference is None or isinstance(reference, DriftReference)
    return check_drift(
        samples, reference, plant.detector, version=4, now_ms=plant.now_ms, limits=limits, rng=np.random.default_rng(5)
    )


def with_values(samples: Samples, values: np.ndarray) -> Samples:
    """The same readings with other values; what the state says of them stays, as after a shift it has got used to."""
    rows = samples.blocks.rows.copy()
    rows[:, len(COMMON) + PER_SENSOR.index("value") :: SENSOR_WIDTH] = values
    return replace(samples, blocks=Blocks(samples.blocks.sensors, rows))


def shifted(plant: Plant, sigmas: float, sensor: int = 0, since_ms: int = 0) -> Samples:
    values = plant.current.blocks.per_sensor("value").copy()
    place = {name: number for number, name in enumerate(plant.reference.stations)}
    spread = plant.reference.spread[[place[name] for name in plant.current.station_ids], sensor]
    values[:, sensor] += np.where(plant.current.event_ms >= since_ms, sigmas * spread, 0.0)
    return with_values(plant.current, values)


def test_more_of_the_same_is_no_drift(plant: Plant) -> None:
    """Breaks when hours of the day, stations' own levels or the sampling of the training pass for drift."""
    found = report(plant, plant.current)
    assert (found.answer, found.persistent, found.moved) == ("no_drift", [], "nothing_moved")
    assert [window.insufficient for window in found.windows] == [None] * 3
    level = {feature.name: feature for feature in found.windows[-1].features}["level:noise"]
    assert level.effect is not None
    assert level.effect.effect < 0.2
    assert DriftReport.from_json(found.to_json()) == found


@pytest.mark.parametrize("sensor", range(3))
def test_half_a_sigma_on_one_sensor_is_found_and_named(plant: Plant, sensor: int) -> None:
    """Breaks when a shift that the stations have got used to is not seen, or another sensor is named."""
    found = report(plant, shifted(plant, 0.5, sensor))
    assert found.answer == "drift"
    assert f"level:{NAMES[sensor]}" in found.persistent
    assert {name.partition(":")[2] for name in found.persistent} == {NAMES[sensor]}
    assert found.moved == "inputs_moved_verdicts_did_not"
    effects = {feature.name: feature.effect for feature in found.windows[-1].features}
    level = effects[f"level:{NAMES[sensor]}"]
    assert level is not None
    # The unit is the spread at these hours of the day, which is less than that of whole days.
    assert 0.4 < level.effect < 0.8


def test_what_does_not_last_is_no_drift(plant: Plant) -> None:
    """Breaks when one window is enough, or the window that fired is not shown."""
    found = report(plant, shifted(plant, 0.8, since_ms=plant.now_ms - LIMITS.window_ms))
    assert found.answer == "no_drift"
    assert [("level:temperature" in window.fired) for window in found.windows] == [False, False, True]
    assert "level:temperature" in found.sentence
    assert "in fewer" in found.sentence


def test_broken_correlation_at_unchanged_marginals_is_found(plant: Plant) -> None:
    """Breaks when only one sensor at a time is looked at."""
    values = plant.current.blocks.per_sensor("value").copy()
    rng = np.random.default_rng(8)
    names, hours = np.array(plant.current.station_ids), plant.current.event_ms // HOUR_MS
    for station in set(plant.current.station_ids):
        for hour in np.unique(hours):
            rows = np.flatnonzero((names == station) & (hours == hour))
            values[rows, 1] = values[rng.permutation(rows), 1]
    # Swapped over the stations' whole stretch as well: within an hour the slow walks stay in step.
    for station in set(plant.current.station_ids):
        rows = np.flatnonzero(names == station)
        values[rows, 1] = np.roll(values[rows, 1], len(rows) // 2)
    found = report(plant, with_values(plant.current, values))
    assert "correlation:temperature~humidity" in found.persistent
    assert "level:temperature" not in found.persistent


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("none", "no readings"),
        ("few", "comparable readings, 500 are needed"),
        ("null", "no reading has a plausible value"),
        ("hours", "does not know"),
        ("reference", "carries no reference"),
    ],
)
def test_too_little_is_said_with_counts(plant: Plant, change: str, said: str) -> None:
    """Breaks when missing data raise, or pass for no drift."""
    samples, reference = plant.current, plant.reference
    if change == "none":
        samples = samples.take(np.zeros(0, np.int64))
    if change == "few":
        samples = samples.take(np.arange(0, len(samples), 20))
    if change == "null":
        rows = samples.blocks.rows.copy()
        rows[:, len(COMMON) + PER_SENSOR.index("value") :: SENSOR_WIDTH] = np.nan
        rows[:, len(COMMON) + PER_SENSOR.index("quality") :: SENSOR_WIDTH] = 1.0
        samples = replace(samples, blocks=Blocks(samples.blocks.sensors, rows))
    if change == "hours":
        use = reference.hour == 3
        parts = {name: getattr(reference, name)[use] for name in ("rows", "hour", "station", "event_ms", "flagged")}
        reference = replace(reference, **parts)
    found = report(plant, samples, reference=None if change == "reference" else reference)
    assert found.answer == "insufficient_data"
    assert said in found.sentence
    counts = [window.counts for window in found.windows]
    assert sum(count.samples for count in counts) == len(samples)
    for count in counts:
        parts = count.late_or_warming_up + count.hours_not_in_training + count.flagged + count.used
        assert parts == count.samples


def test_an_hour_of_anomalies_is_no_drift(plant: Plant) -> None:
    """Breaks when a fault teaches that the plant has changed (F48)."""
    samples = shifted(plant, 9.0, since_ms=plant.now_ms - HOUR_MS)
    flags = np.where(samples.event_ms >= plant.now_ms - HOUR_MS, Flag.ANOMALY, 0).astype(np.int32)
    found = report(plant, replace(samples, flags=flags))
    assert found.answer == "no_drift"
    assert found.windows[-1].counts.flagged > 500


def test_verdicts_that_the_version_would_give_differently_are_counted_both_ways(plant: Plant) -> None:
    """Breaks when flips are counted one way only or against themselves."""
    flags = plant.detector.judge(plant.current.blocks).flags
    flagged = np.flatnonzero(flags & Flag.ANOMALY)
    changed = flags.copy()
    changed[flagged] = 0
    normal = np.flatnonzero((flags & Flag.ANOMALY) == 0)[-7:]
    changed[normal] = Flag.ANOMALY
    found = report(plant, replace(plant.current, flags=changed))
    flips = [window.verdicts.flips for window in found.windows if window.verdicts]
    assert (sum(flip.to_flagged for flip in flips), sum(flip.to_normal for flip in flips)) == (len(flagged), 7)


def test_few_stations_are_compared_by_hours(plant: Plant) -> None:
    """Breaks when a plant of three stations has no confidence at all, or is refused."""
    few = np.isin(np.array(plant.current.station_ids), ["s1", "s2", "s3"])
    use = plant.reference.station < 0
    for name in ("s1", "s2", "s3"):
        use |= plant.reference.station == plant.reference.stations.index(name)
    parts = {name: getattr(plant.reference, name)[use] for name in ("rows", "hour", "event_ms", "flagged")}
    places = np.unique(plant.reference.station[use], return_inverse=True)
    reference = replace(
        plant.reference,
        stations=tuple(plant.reference.stations[at] for at in places[0]),
        centre=plant.reference.centre[places[0]],
        spread=plant.reference.spread[places[0]],
        station=places[1],
        **parts,
    )
    limits = replace(LIMITS, least_rows=100)
    assert report(plant, plant.current.take(few), limits, reference=reference).answer == "no_drift"
    assert report(plant, shifted(plant, 1.0).take(few), limits, reference=reference).answer == "drift"


def test_features_are_compared_once_the_stations_are_known(plant: Plant) -> None:
    """Breaks when limits that are still being learnt pass for drift: nine checks in ten would fire on nothing."""
    young = {feature.name: feature for feature in report(plant, plant.current).windows[-1].features}
    assert (young["level_192"].rows, young["level_192"].effect, young["level_192"].fired) == (0, None, False)
    assert young["level:noise"].rows > 3000
    blocks = Blocks(NAMES, plant.current.blocks.rows[:4].copy())
    for readings, elapsed, known in ((19_000, 600.0, False), (21_000, 600.0, True), (21_000, 1.0, False)):
        blocks.per_sensor("weight")[:], blocks.common("elapsed")[:] = readings / (readings + 30.0), elapsed
        assert (mature(blocks) == known).all()


def test_a_reference_survives_its_bytes_and_the_artefact(plant: Plant) -> None:
    """Breaks when a part of the reference is lost on the way, or two packings of one reference differ."""
    data = plant.reference.to_bytes()
    back = DriftReference.from_bytes(data)
    assert back.to_bytes() == data == plant.reference.to_bytes()
    np.testing.assert_allclose(back.rows, plant.reference.rows, rtol=1e-3, atol=1e-3)
    assert len(data) < 600_000
    whole = simulated(3, 300)
    forest, spec = fit_detector(whole, DEFAULT_SENSORS, plant.prior, trees=5, budget=1.0, rng=np.random.default_rng(1))
    for reference in (None, plant.reference):
        artefact = pack(forest, spec, plant.prior, reference.to_bytes() if reference else b"")
        found = reference_of(load(artefact, sha256_of(artefact)).reference)
        assert (found.to_bytes() if found else None) == (reference.to_bytes() if reference else None)


def test_other_bytes_are_no_reference(plant: Plant) -> None:
    """Breaks when a damaged reference is believed, or something in it is unpickled."""
    data = plant.reference.to_bytes()
    pickled = io.BytesIO()
    np.savez(pickled, format=np.array([{}], dtype=object))
    short = replace(plant.reference, hour=plant.reference.hour[1:]).to_bytes()
    alien = replace(plant.reference, station=plant.reference.station + STATIONS).to_bytes()
    for bad in (b"", b"PK", data[: len(data) // 2], pickled.getvalue(), short, alien):
        with pytest.raises(ArtefactRefused):
            DriftReference.from_bytes(bad)


@given(st.floats(-2, 2), st.floats(0.5, 2), st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_the_distance_is_the_wasserstein_distance_over_sigma(shift: float, scale: float, seed: int) -> None:
    """Breaks when the grid loses more than a cell."""
    rng = np.random.default_rng(seed)
    before, now = rng.normal(7.0, 3.0, 700), rng.normal(7.0 + 3.0 * shift, 3.0 * scale, 900)
    grid = Grid.of(before, np.ones(len(before)))
    one = np.ones((1, 1))
    sides = [
        shares_by_block(one, np.zeros(len(values), np.int64), grid.cells(values), None) for values in (now, before)
    ]
    expected = wasserstein_distance(now, before) / before.std()
    assert grid.wasserstein(*sides)[0] == pytest.approx(expected, abs=0.06)


def test_a_tiny_shift_is_small_at_any_number_of_rows() -> None:
    """Breaks when an effect grows with the rows, as a p-value does."""
    rng = np.random.default_rng(1)
    for n in (2_000, 200_000):
        before, now = rng.normal(0.0, 1.0, n), rng.normal(0.02, 1.0, n)
        grid = Grid.of(before, np.ones(n))
        block = np.arange(n) % 50
        drawn = np.vstack([np.ones(50), rng.multinomial(50, np.full(50, 0.02), 100)])
        sides = [shares_by_block(drawn, block, grid.cells(values), None) for values in (now, before)]
        assert bounds(grid.wasserstein(*sides), 0.975).low < 0.05
        assert bounds(grid.psi(*sides, n, n), 0.975).low < 0.01
    assert kolmogorov_p(grid.largest_gap(sides[0][0], sides[1][0]), n, n) < 1e-4


def test_a_column_that_stood_still_in_training_can_still_move() -> None:
    """Breaks when a constant column divides by nothing, or a change of it is not seen."""
    grid = Grid.of(np.full(600, 4.0), np.ones(600))
    one, block = np.ones((1, 1)), np.zeros(600, np.int64)
    still, moved = (shares_by_block(one, block, grid.cells(np.full(600, value)), None) for value in (4.0, 5.0))
    assert grid.wasserstein(still, still)[0] == 0.0
    assert grid.wasserstein(moved, still)[0] > 7.0
