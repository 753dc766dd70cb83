"""The state of a shard: its size, what a missing value does to it, and what a changed catalogue leaves of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.errors import ArtefactRefused, StateRefused
from core.sensors import DEFAULT_SENSORS, Sensor
from models.kernels.columns import N_WITNESSES
from models.kernels.statistics_kernel import COUNT, MISSING_RUN, YOUNG, Statistics
from models.scoring.feature_block import BLOCK_VERSION, WITNESSES, block_width, pack_row, unpack_rows
from models.scoring.shard_state import LAYOUT, Incoming, ShardState
from models.scoring.station_prior import Prior, neutral_prior

NAMES = tuple(sensor.name for sensor in DEFAULT_SENSORS)
TEMPERATURE, HUMIDITY, NOISE = DEFAULT_SENSORS
PRESSURE = Sensor("pressure", "hPa")
PRIOR: Prior = replace(neutral_prior(NAMES), spread=np.ones((3, N_WITNESSES)), floor=np.full(3, 0.01))
NOON = 1_772_366_400_000
LONGEST_ID = "s" * 64


def series(values: np.ndarray, after: int = 0) -> Incoming:
    """Readings of one station, one a second, `after` of them being there already."""
    n = len(values)
    times = NOON + 1000 * np.arange(after, after + n)
    return Incoming([LONGEST_ID] * n, times, times, np.arange(n), values)


def noise(n: int, n_sensors: int, seed: int = 1) -> np.ndarray:
    return 20.0 + np.random.default_rng(seed).normal(size=(n, n_sensors))


def test_a_station_of_three_sensors_takes_less_than_two_kib() -> None:
    """Breaks when a field makes every batch rewrite more state than the design allows, or a block outgrows its rows."""
    shard = ShardState(DEFAULT_SENSORS, PRIOR)
    blocks = shard.take(series(noise(200, 3))).blocks
    assert len(shard.to_bytes()) <= 2048
    assert sum(shard.learnt(name).nbytes for name in Statistics._fields) <= 1536
    assert len(pack_row(blocks, 0)) <= 400


def test_a_missing_value_moves_no_witness_however_far_the_station_is_from_its_reference() -> None:
    """Breaks when one null is taken for a jump back to the long reference, or teaches the sensor anything."""
    values = np.repeat(20.0 + np.linspace(0, 30, 400)[:, np.newaxis], 3, axis=1)
    values[-1, 0] = np.nan
    shard = ShardState(DEFAULT_SENSORS, PRIOR)
    shard.take(series(values[:-1]))
    before = shard.learnt("sensor").copy()
    ratio = shard.take(series(values[-1:], after=399)).blocks.witnesses("ratio")[0]
    assert (ratio[0] == 0.0).all()
    # The others' bands are explained by each other's, hence not by exactly nothing.
    assert (ratio[1:] != 0.0).all()
    changed = np.flatnonzero(shard.learnt("sensor")[0, 0] != before[0, 0])
    assert changed.tolist() == [MISSING_RUN]


@pytest.mark.parametrize("odd", [0, 30, 59])
def test_one_reading_far_from_the_others_costs_a_minutes_mean_no_digit(odd: int) -> None:
    """Breaks when a minute is summed up in single precision alone, which shows once one value dwarfs the rest."""
    values = np.round(noise(300, 3), 1).astype(np.float32).astype(np.float64)
    values[odd] = 9e4
    minutes = ShardState(DEFAULT_SENSORS, PRIOR).take(series(values)).closed
    assert minutes.readings[0] == 60
    np.testing.assert_allclose(minutes.stats[0][:, 0], values[:60].mean(axis=0).astype(np.float64), rtol=1e-9)


def test_the_state_survives_its_bytes() -> None:
    """Breaks when a field is lost or shifted on its way through a checkpoint."""
    shard = ShardState(DEFAULT_SENSORS, PRIOR)
    shard.take(series(noise(100, 3)))
    again = ShardState.from_bytes(shard.to_bytes(), DEFAULT_SENSORS, PRIOR)
    assert again.to_bytes() == shard.to_bytes()
    more = series(noise(50, 3, seed=2), after=100)
    np.testing.assert_array_equal(again.take(more).blocks.rows, shard.take(more).blocks.rows)


def test_one_station_leaves_its_shard_whole() -> None:
    """Breaks when a station that is judged beside the stream, from its own bytes, is judged otherwise than in it."""
    shard = ShardState(DEFAULT_SENSORS, PRIOR)
    rng = np.random.default_rng(2)
    times = 1_790_000_000_000 + 1000 * np.repeat(np.arange(300), 3)
    names = ["a", "long-name", "c"] * 300
    shard.take(Incoming(names, times, times, np.arange(900), rng.normal(20.0, 1.0, (900, 3))))
    alone = ShardState.from_bytes(shard.one_station_bytes(1), DEFAULT_SENSORS, PRIOR)
    assert alone.ids == ["long-name"]
    at = times[-1:] + 1000
    reading = Incoming(["long-name"], at, at, np.array([900]), np.array([[25.0, 20.0, 20.0]]))
    assert np.array_equal(alone.take(reading).blocks.rows, shard.take(reading).blocks.rows, equal_nan=True)
    assert alone.to_bytes() == shard.one_station_bytes(1)


def test_a_removed_sensor_is_dropped_and_the_others_keep_what_they_learnt() -> None:
    """Breaks when a changed catalogue mixes sensors up, or makes a plant warm up again."""
    shard = ShardState(DEFAULT_SENSORS, PRIOR)
    shard.take(series(noise(300, 3)))
    fewer = ShardState.from_bytes(shard.to_bytes(), (NOISE, TEMPERATURE), PRIOR)
    kept = [NAMES.index("noise"), NAMES.index("temperature")]
    np.testing.assert_array_equal(fewer.learnt("sensor"), shard.learnt("sensor")[:, kept])
    np.testing.assert_array_equal(fewer.learnt("station"), shard.learnt("station"))
    np.testing.assert_array_equal(fewer.learnt("covariance"), shard.learnt("covariance")[:, :, kept][:, :, :, kept])
    blocks = fewer.take(series(noise(1, 2, seed=3), after=300)).blocks
    assert blocks.common("ordinal")[0] == 301 and (blocks.per_sensor("weight") > 0.9).all()


def test_an_added_sensor_starts_from_its_first_readings() -> None:
    """Breaks when a sensor that nobody knows is judged before it has shown itself, or is never judged."""
    shard = ShardState(DEFAULT_SENSORS, PRIOR)
    shard.take(series(noise(300, 3)))
    more = ShardState.from_bytes(shard.to_bytes(), (TEMPERATURE, PRESSURE, HUMIDITY, NOISE), PRIOR)
    old, added = [0, 2, 3], 1
    np.testing.assert_array_equal(more.learnt("sensor")[:, old], shard.learnt("sensor"))
    assert not more.learnt("sensor")[:, added].any()
    values = noise(80, 4, seed=4)
    values[:, added] = 1013.0 + 0.1 * values[:, added]
    blocks = more.take(series(values, after=300)).blocks
    assert blocks.per_sensor("weight")[0].tolist() == pytest.approx([300 / 330, 0.0, 300 / 330, 300 / 330])
    assert blocks.per_sensor("typical")[0, added] == np.float32(values[0, added])
    judged = (blocks.witnesses("ratio")[:, added] != 0.0).any(axis=1)
    assert not judged[: int(YOUNG)].any() and judged[int(YOUNG) :].all()
    assert (blocks.witnesses("ratio")[0, old] != 0.0).any(axis=1).all()
    assert more.learnt("sensor")[0, :, COUNT].tolist() == [380, 80, 380, 380]


def test_a_sensor_that_comes_back_starts_anew() -> None:
    """Breaks when a sensor that was away resumes with statistics, or covariances, from before."""
    shard = ShardState(DEFAULT_SENSORS, PRIOR)
    shard.take(series(noise(100, 3)))
    fewer = ShardState.from_bytes(shard.to_bytes(), (TEMPERATURE, NOISE), PRIOR)
    again = ShardState.from_bytes(fewer.to_bytes(), DEFAULT_SENSORS, PRIOR)
    place = NAMES.index("humidity")
    assert not again.learnt("sensor")[:, place].any()
    assert not again.learnt("covariance")[:, :, place].any() and not again.learnt("covariance")[:, :, :, place].any()


def test_another_layout_is_refused_with_what_to_do() -> None:
    """Breaks when the bytes of another release are read as if they were this one's."""
    data = ShardState(DEFAULT_SENSORS, PRIOR).to_bytes()
    other = data.replace(b"layout" + bytes([LAYOUT]), b"layout" + bytes([LAYOUT - 1]))
    assert other != data
    with pytest.raises(StateRefused, match="fresh checkpoint"):
        ShardState.from_bytes(other, DEFAULT_SENSORS, PRIOR)
    with pytest.raises(StateRefused, match="damaged"):
        ShardState.from_bytes(data + b"\x00", DEFAULT_SENSORS, PRIOR)


def test_blocks_are_read_back_by_their_names() -> None:
    """Breaks when a column of the block is found at another column's place."""
    blocks = ShardState(DEFAULT_SENSORS, PRIOR).take(series(noise(60, 3))).blocks
    assert blocks.rows.shape == (60, block_width(3))
    again = unpack_rows([pack_row(blocks, row) for row in range(60)], NAMES)
    np.testing.assert_array_equal(again.rows, blocks.rows)
    for number, witness in enumerate(WITNESSES):
        np.testing.assert_array_equal(again.witness(witness, "h"), blocks.witnesses("h")[:, :, number])
    swapped = blocks.of_sensors(("noise", "temperature"))
    np.testing.assert_array_equal(swapped.per_sensor("value"), blocks.per_sensor("value")[:, [2, 0]])
    np.testing.assert_array_equal(swapped.witnesses("ratio"), blocks.witnesses("ratio")[:, [2, 0]])
    earlier = bytes([BLOCK_VERSION - 1]) + pack_row(blocks, 0)[1:]
    with pytest.raises(ArtefactRefused, match="this release reads"):
        unpack_rows([earlier], NAMES)
