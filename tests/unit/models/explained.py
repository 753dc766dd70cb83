"""Stations whose sensors move together, a version fitted to them, and blocks made by hand."""

from __future__ import annotations

import numpy as np

from core.sensors import DEFAULT_SENSORS, Sensor
from models.scoring.detector import Detector
from models.scoring.feature_block import COMMON, PER_SENSOR, SENSOR_WIDTH, WITNESSES, Blocks, block_width
from models.scoring.features import FEATURES
from models.scoring.history import History
from models.scoring.isolation_forest import PackedForest
from models.scoring.shard_state import ShardState
from models.scoring.station_prior import Prior
from models.training.fit import fit_detector, fit_prior
from tests.unit.models.histories import START_MS

NAMES = tuple(sensor.name for sensor in DEFAULT_SENSORS)
LEVEL, SCALE = np.array([22.0, 48.0, 65.0]), np.array([1.0, 3.0, 2.0])
_CALM = {"weight": 0.98, "spread": 1.0, "run": 1.0, "run_limit": 10.0, "missing_limit": 3.0}


def plant(seed: int, stations: int = 6, readings: int = 1500) -> History:
    """A reading a minute; what is common to a station's sensors wanders, each adds noise of its own."""
    rng = np.random.default_rng(seed)
    common = np.zeros((readings, stations, 1))
    for row in range(1, readings):
        common[row] = 0.9 * common[row - 1] + 0.44 * rng.normal(size=(stations, 1))
    own = rng.normal(0.0, 0.6, (readings, stations, 3))
    values = np.round(LEVEL + SCALE * (np.array([0.8, -0.8, 0.5]) * common + own), 1)
    event_ms = np.repeat(START_MS + 60_000 * np.arange(readings), stations)
    names = [f"s{number}" for number in range(stations)] * readings
    return History(names, event_ms, event_ms, np.repeat(np.arange(readings), stations), values.reshape(-1, 3))


def version(
    history: History, prior: Prior | None = None, seed: int = 7, sensors: tuple[Sensor, ...] = DEFAULT_SENSORS
) -> tuple[Prior, Detector]:
    """A prior unless given, and a small detector."""
    prior = prior or fit_prior(history, sensors, 1.0)
    forest, spec = fit_detector(history, sensors, prior, trees=60, budget=1.0, rng=np.random.default_rng(seed))
    return prior, Detector(spec, PackedForest.from_sklearn(forest, FEATURES))


def blocks_of(history: History, prior: Prior) -> Blocks:
    """What the state says of a history."""
    return ShardState(DEFAULT_SENSORS, prior).take(history).blocks


def calm(n: int = 1, names: tuple[str, ...] = NAMES) -> Blocks:
    """Readings on which nothing is to be seen: each sensor at its typical value, 22, 48, 65 or 10, band ± 6."""
    blocks = Blocks(names, np.zeros((n, block_width(len(names))), np.float32))
    show(blocks, elapsed=60.0, gap_limit=600.0, lasting=0.3, ordinal=5000.0)
    for place, name in enumerate(names):
        at = LEVEL[NAMES.index(name)] if name in NAMES else 10.0
        show(blocks, place, **_CALM, value=at, typical=at, lower=at - 6.0, upper=at + 6.0)
    blocks.witnesses("h")[...] = 1.0
    return blocks


def show(blocks: Blocks, sensor: int | None = None, **columns: float) -> Blocks:
    """Set common columns, or columns and ratios of a sensor, in all rows."""
    for name, shown in columns.items():
        if sensor is None:
            at = COMMON.index(name)
        else:
            start = len(COMMON) + sensor * SENSOR_WIDTH
            place = PER_SENSOR.index(name) if name in PER_SENSOR else len(PER_SENSOR) + 2 * WITNESSES.index(name)
            at = start + place
        blocks.rows[:, at] = shown
    return blocks
