"""The drift reference knows every hour of the day that the training shows, however little it shows of it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.process import parser_of
from core.sensors import DEFAULT_SENSORS
from core.settings import Settings
from iot_simulator.__main__ import main as simulator
from iot_simulator.process import StationProcess
from local_stack.supervisor.first_model import FirstModel
from models.drift.check import DriftLimits, compare_window
from models.drift.reference import SAMPLE_ROWS, DriftReference, make_reference, reference_of
from models.drift.report import WindowDrift
from models.evaluation.recorded_history import read_history
from models.scoring.artefact import load, sha256_of
from models.scoring.detector import Detector
from models.scoring.feature_block import COMMON, PER_SENSOR, SENSOR_WIDTH, Blocks
from models.scoring.feature_samples import HOUR_MS, Samples, fair_share, samples_of
from models.scoring.history import History
from models.train import COMMAND
from models.training.train_steps import REFERENCE_READINGS, Training, fit
from tests.unit.models.histories import make_history

NAMES = tuple(sensor.name for sensor in DEFAULT_SENSORS)
# Not on the hour: both ends of the day share an hour of the clock.
START, START_SECONDS = "2026-11-20T07:20:00Z", 1_795_159_200
STATIONS, DAY, LIVE_HOURS, MINUTE = 25, 86_400, 30, 60
LIMITS = DriftLimits(draws=100)


class First(NamedTuple):
    """The first model as `make run` makes it, with a small forest, and what the stations send afterwards."""

    history: History
    training: Training
    detector: Detector
    reference: DriftReference
    live: Samples
    sigma: np.ndarray


class InProcess:
    """Stands for the programs of `run`: writes the history, and remembers what the training is told."""

    arguments: Sequence[str] = ()

    def run(self, arguments: Sequence[str], *_: object) -> None:
        self.arguments = arguments
        if "iot_simulator" in arguments:
            assert simulator([*arguments[2:], "--start", START]) == 0


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> First:
    settings = Settings(_env_file=None, stations=STATIONS, home=tmp_path_factory.mktemp("home"))  # type: ignore[call-arg]
    programs = {"history": InProcess(), "train": InProcess()}
    FirstModel(settings, programs, {}, threading.Event()).make()  # type: ignore[arg-type]
    told = parser_of(COMMAND, "train", "").parse_args(list(programs["train"].arguments[2:]))
    history, _ = read_history(told.readings, DEFAULT_SENSORS)
    training = trained(history, reference_stretches=told.reference_stretches)
    loaded = load(training.artefact, sha256_of(training.artefact))
    reference = reference_of(loaded.reference)
    assert reference is not None
    process = StationProcess(settings.simulator_seed, range(STATIONS), DEFAULT_SENSORS, float(MINUTE))
    return First(history, training, loaded.detector, reference, live(process, history, training), process.sigma)


def trained(history: History, *, reference_stretches: bool) -> Training:
    return fit(history, DEFAULT_SENSORS, trees=5, budget=1.0, seed=7, reference_stretches=reference_stretches)


def live(process: StationProcess, history: History, training: Training) -> Samples:
    """A sample a minute and station of the hours behind the training, all of them as calm as its last readings."""
    begin, ticks = (START_SECONDS + DAY) // MINUTE, LIVE_HOURS * 60
    values = process.block(begin, ticks)
    calm = samples_of(history, DEFAULT_SENSORS, training.prior, len(history)).blocks.rows[-STATIONS:]
    event_ms = np.repeat(np.arange(begin, begin + ticks, dtype=np.int64) * MINUTE * 1000, STATIONS)
    names = [f"station-{number:04d}" for number in range(STATIONS)] * ticks
    samples = Samples(names, event_ms, np.zeros(len(names), np.int32), Blocks(NAMES, np.tile(calm, (ticks, 1))))
    return with_values(samples, values.reshape(-1, len(NAMES)))


def with_values(samples: Samples, values: np.ndarray) -> Samples:
    rows = samples.blocks.rows.copy()
    rows[:, len(COMMON) + PER_SENSOR.index("value") :: SENSOR_WIDTH] = values
    return replace(samples, blocks=Blocks(NAMES, rows))


def window(first: First, hour: int, sensor: int = 0, sigmas: float = 0.0) -> WindowDrift:
    """Compare the six hours from so many hours after the training on; `sigmas`: shift of one sensor."""
    start = (START_SECONDS + DAY) * 1000 + hour * HOUR_MS
    span = start, start + LIMITS.window_ms
    samples = first.live.between(*span)
    values = samples.blocks.per_sensor("value").copy()
    values[:, sensor] += sigmas * first.sigma[np.arange(len(samples)) % STATIONS, sensor]
    rng = np.random.default_rng(hour)
    return compare_window(with_values(samples, values), span, first.reference, first.detector, LIMITS, rng)


@pytest.mark.parametrize("hour", range(24))
def test_the_first_model_judges_drift_at_any_hour(first: First, hour: int) -> None:
    """Breaks when hours are missing in the first model's reference, or so thin that they look like drift."""
    found = window(first, hour)
    assert found.insufficient is None
    assert (found.counts.hours_not_in_training, found.fired) == (0, [])
    assert {feature.name for feature in found.features if feature.effect} >= {f"level:{name}" for name in NAMES}


@pytest.mark.parametrize("sensor", range(3))
@pytest.mark.parametrize("hour", range(0, 24, 6))
def test_half_a_sigma_is_found_at_any_hour(first: First, hour: int, sensor: int) -> None:
    """Breaks when the thin hours of the reference hide a shift, or another sensor is named."""
    fired = window(first, hour, sensor, 0.5).fired
    assert f"level:{NAMES[sensor]}" in fired
    assert {name.partition(":")[2] for name in fired} == {NAMES[sensor]}


def test_hours_for_the_reference_teach_nothing_else(first: First) -> None:
    """Breaks when the short stretches change what the detector learns, or what counts as a gap."""
    long = np.isin((first.history.event_ms // HOUR_MS) % 24, [7, 15, 23])
    again = trained(first.history.take(long), reference_stretches=False)
    assert again.prior.to_bytes() == first.training.prior.to_bytes()
    assert again.spec == first.training.spec
    assert first.training.prior.gap_limit == 3.0


def test_every_hour_has_an_even_part_of_the_reference(first: First) -> None:
    """Breaks when hours are drawn in proportion: one row in six hundred is too few to compare an hour by."""
    counts = np.bincount(first.reference.hour, minlength=24)
    assert set(counts.tolist()) == {SAMPLE_ROWS // 24}
    samples = samples_of(first.history, DEFAULT_SENSORS, first.training.prior, REFERENCE_READINGS)
    kept = np.bincount(samples.hours, minlength=24)
    assert kept.sum() == pytest.approx(REFERENCE_READINGS, rel=0.02) and kept.max() < 1.1 * kept.min()


def test_the_same_draw_gives_the_same_reference(first: First) -> None:
    """Breaks when a training cannot be made again, or the draw is not the given one."""
    samples = samples_of(first.history, DEFAULT_SENSORS, first.training.prior, REFERENCE_READINGS)
    made = [make_reference(samples, first.detector, np.random.default_rng(seed)).to_bytes() for seed in (7, 7, 8)]
    assert made[0] == made[1] == first.reference.to_bytes() != made[2]


def test_a_history_of_few_hours_keeps_all_that_is_wanted() -> None:
    """Breaks when hours that a history does not have take their part of the sample with them."""
    history = make_history(np.random.default_rng(3), stations=2, readings=2400)
    prior = fit(history, DEFAULT_SENSORS, trees=2, budget=1.0, seed=1).prior
    assert len(samples_of(history, DEFAULT_SENSORS, prior, len(history))) == len(history)
    assert len(samples_of(history, DEFAULT_SENSORS, prior, 1000)) == pytest.approx(1000, rel=0.15)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=24), st.integers(0, 20_000))
def test_a_fair_share_is_the_largest_that_fits(counts: list[int], most: int) -> None:
    """Breaks when groups together keep too many, or could keep more."""
    share = fair_share(np.array(counts), most)
    kept = sum(min(count, share) for count in counts)
    assert kept <= most
    assert share >= max(counts) or sum(min(count, share + 1) for count in counts) > most
