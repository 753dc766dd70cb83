"""The state of a shard: its size, and what a missing value does to it."""

from __future__ import annotations

import numpy as np

from models.detection.prior import Prior
from models.detection.sensors import DEFAULT_SENSORS
from models.detection.state import Incoming, ShardState

NAMES = tuple(sensor.name for sensor in DEFAULT_SENSORS)
ONES = np.ones(3)
PRIOR = Prior(NAMES, 1.0, ONES, ONES, ONES, ONES * 0.01, ONES * 20, np.full((3, 2), 5.0))
NOON = 1_772_366_400_000


def series(values: np.ndarray) -> Incoming:
    n = len(values)
    times = NOON + 1000 * np.arange(n)
    return Incoming(["station-0001"] * n, times, times, np.arange(n), values)


def test_a_station_of_three_sensors_takes_less_than_two_kib() -> None:
    """Breaks when a field makes every batch rewrite more state than the design allows."""
    shard = ShardState(DEFAULT_SENSORS, PRIOR)
    shard.take(series(np.full((50, 3), 20.0)))
    assert len(shard.to_bytes()) < 2048


def test_a_missing_value_moves_no_witness_however_far_the_station_is_from_its_reference() -> None:
    """Breaks when one null is taken for a jump back to the long reference."""
    ramp = 20.0 + np.linspace(0, 30, 400)
    values = np.column_stack([ramp, ramp, ramp])
    values[-1, 0] = np.nan
    blocks = ShardState(DEFAULT_SENSORS, PRIOR).take(series(values)).blocks
    for column in (blocks.witness("innovation", "u"), blocks.witness("level", "u"), blocks.per_sensor("diff")):
        assert column[-1, 0] == 0.0
        assert column[-1, 1] != 0.0
