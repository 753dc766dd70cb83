"""Simulated plants for the benchmarks of the model's life: a training, what follows, and a version fitted on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.sensors import DEFAULT_SENSORS
from iot_simulator.process import Flavour, StationProcess
from models.drift.reference import DriftReference, make_reference
from models.kernels.state_kernel import ACCEPTED
from models.scoring.detector import Detector
from models.scoring.feature_samples import Samples, samples_of
from models.scoring.features import FEATURES
from models.scoring.history import History
from models.scoring.isolation_forest import PackedForest
from models.scoring.shard_state import ShardState
from models.scoring.station_prior import Prior
from models.training.fit import fit_detector, fit_prior

START = 1_767_571_200  # s; a Monday, 2026-01-05T00:00Z
NAMES = tuple(sensor.name for sensor in DEFAULT_SENSORS)


@dataclass(frozen=True)
class Version:
    """A fitted version with its reference, and the state of its stations at the end of the training."""

    prior: Prior
    detector: Detector
    reference: DriftReference
    state: bytes


@dataclass
class Plant:
    """Stations of one seed.

    Args:
        seed: of the stations.
        flavour: of the simulator.
        stations: how many.
        cadence: s.
    """

    seed: int
    flavour: Flavour
    stations: int
    cadence: float

    def __post_init__(self) -> None:
        self.process = StationProcess(self.seed, range(self.stations), DEFAULT_SENSORS, self.cadence, self.flavour)

    def tick(self, seconds: float) -> int:
        """The tick so many seconds after the start."""
        return round((START + seconds) / self.cadence)

    def history(self, start: float, end: float, shift: np.ndarray | None = None) -> History:
        """Healthy readings of [start, end), s after the start; `shift`: (n_sensors,) added, in each one's sigma."""
        first, ticks = self.tick(start), self.tick(end) - self.tick(start)
        values = self.process.block(first, ticks)
        if shift is not None:
            values = values + shift * self.process.sigma
        return self.as_history(first, values)

    def as_history(self, first: int, values: np.ndarray) -> History:
        """Values (ticks, n_stations, n_sensors) from a tick on as readings."""
        tick = np.repeat(np.arange(first, first + len(values), dtype=np.int64), self.stations)
        event_ms = np.round(tick * (self.cadence * 1000.0)).astype(np.int64)
        names = [f"station-{number:04d}" for number in range(self.stations)] * len(values)
        return History(names, event_ms, event_ms, tick, values.reshape(-1, values.shape[2]))

    def version(self, training: History, *, trees: int, most: int = 50_000) -> Version:
        """Fit a version on a training."""
        prior = fit_prior(training, DEFAULT_SENSORS, 1.0)
        rng = np.random.default_rng([self.seed, 1])
        forest, spec = fit_detector(training, DEFAULT_SENSORS, prior, trees=trees, budget=1.0, rng=rng)
        detector = Detector(spec, PackedForest.from_sklearn(forest, FEATURES))
        reference = make_reference(samples_of(training, DEFAULT_SENSORS, prior, most), detector, rng)
        state = ShardState(DEFAULT_SENSORS, prior)
        for part in training.parts():
            state.take(part)
        # As it travels: what rounding does to it belongs to the comparison.
        return Version(prior, detector, DriftReference.from_bytes(reference.to_bytes()), state.to_bytes())


def run_on(version: Version, history: History, state: ShardState | None = None) -> Samples:
    """Let the stations go on from the end of the training, or from `state`; every reading with its verdict's flags."""
    state = state or ShardState.from_bytes(version.state, DEFAULT_SENSORS, version.prior)
    found = []
    for part in history.parts():
        step = state.take(part)
        taken = step.outcome == ACCEPTED
        flags = version.detector.judge(step.blocks, part.station_ids).flags
        found.append(Samples(part.station_ids, part.event_ms, flags, step.blocks).take(taken))
    return joined(found)


def joined(parts: Sequence[Samples]) -> Samples:
    """Put samples one behind the other."""
    blocks = type(parts[0].blocks)(parts[0].blocks.sensors, np.concatenate([part.blocks.rows for part in parts]))
    return Samples(
        [name for part in parts for name in part.station_ids],
        np.concatenate([part.event_ms for part in parts]),
        np.concatenate([part.flags for part in parts]),
        blocks,
    )
