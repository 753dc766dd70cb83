"""Healthy stations: stationary, reproducible to the byte, the same in any slice and after any restart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.sensors import DEFAULT_SENSORS, Sensor
from iot_simulator import counter_rng
from iot_simulator.process import DAY, StationProcess

MIDNIGHT = 1_795_132_800  # 2026-11-20T00:00:00Z
SENSORS = DEFAULT_SENSORS


def test_seven_healthy_days_stay_at_the_nominal_values() -> None:
    """Breaks if the process wanders off: every station's mean of every day is within 0.5 sigma of its nominal value."""
    process = StationProcess(7, range(40), SENSORS, 10.0)
    per_day = int(DAY / 10)
    for day in range(7):
        values = process.block(MIDNIGHT // 10 + day * per_day, per_day)
        departure = np.abs(values.mean(axis=0) - process.nominal) / process.sigma
        assert departure.max() < 0.5, f"day {day}: {departure.max():.2f} sigma"


@pytest.mark.parametrize("cadence", [5.0, 60.0])
def test_sigma_is_the_spread_at_any_cadence(cadence: float) -> None:
    """Breaks if the statistics depend on the cadence or sigma is not the total standard deviation."""
    process = StationProcess(3, range(30), SENSORS, cadence)
    values = process.block(round(MIDNIGHT / cadence), int(3 * DAY / cadence))
    spread = ((values - process.nominal) / process.sigma).std(axis=(0, 1))
    np.testing.assert_allclose(spread, 1.0, atol=0.06)


def test_humidity_falls_when_temperature_rises() -> None:
    """Breaks if sensors no longer move together, over the day or from minute to minute."""
    process = StationProcess(7, range(20), SENSORS, 60.0)
    values = process.block(MIDNIGHT // 60, 1440 * 2)
    changes = values[30:] - values[:-30]
    for part in (values, changes):
        correlation = [np.corrcoef(part[:, station, 0], part[:, station, 1])[0, 1] for station in range(20)]
        assert np.mean(correlation) < -0.35


def test_daily_cycle_returns_every_day() -> None:
    """Breaks if afternoons are no warmer than nights."""
    process = StationProcess(7, range(20), SENSORS, 60.0)
    values = process.block(MIDNIGHT // 60, 1440 * 2).reshape(2, 24, 60, 20, 3).mean(axis=2)
    assert (values[:, 15, :, 0] > values[:, 3, :, 0]).mean() > 0.9


def test_values_are_on_the_resolution_and_plausible() -> None:
    """Breaks if a value has more digits than its sensor, or a healthy station breaks the range rule."""
    values = StationProcess(7, range(50), SENSORS, 1.0).block(MIDNIGHT, 2000)
    assert all(len(repr(value).split(".")[1]) == 1 for value in np.unique(values).tolist())
    for column, sensor in enumerate(SENSORS):
        assert sensor.plausible[0] < values[:, :, column].min() <= values[:, :, column].max() < sensor.plausible[1]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    start=st.integers(MIDNIGHT, MIDNIGHT + 10**6),
    skip=st.integers(0, 900),
    first=st.integers(0, 7),
    cadence=st.sampled_from([0.25, 1.0, 7.0, 60.0]),
    flavour=st.sampled_from(["plain", "hard"]),
)
def test_restart_and_replica_give_the_same_bytes(
    seed: int, start: int, skip: int, first: int, cadence: float, flavour: str
) -> None:
    """Breaks if a station depends on its neighbours, on where the process started, or on how it is cut into blocks."""
    tick = round(start / cadence)
    whole = StationProcess(seed, range(9), SENSORS, cadence, flavour).block(tick, 1000)
    part = StationProcess(seed, range(first, 9), SENSORS, cadence, flavour)
    blocks = [part.block(tick + skip, 37), part.block(tick + skip + 37, 1), part.block(tick + skip + 38, 62)]
    assert np.concatenate(blocks).tobytes() == np.ascontiguousarray(whole[skip : skip + 100, first:]).tobytes()


def test_other_seed_other_plant_same_seed_same_bytes() -> None:
    """Breaks if the seed is ignored, or something else is random."""
    make = [StationProcess(seed, range(5), SENSORS, 1.0).block(MIDNIGHT, 50).tobytes() for seed in (1, 1, 2)]
    assert make[0] == make[1] != make[2]


def test_another_sensor_does_not_change_the_first() -> None:
    """Breaks if draws hang on a sensor's place in the catalogue."""
    more = (Sensor("pressure", "hPa", (800.0, 1200.0), (0.0, 5000.0), 0.5), *SENSORS)
    values = StationProcess(7, range(4), more, 1.0).block(MIDNIGHT, 100)
    np.testing.assert_array_equal(values[:, :, 1:], StationProcess(7, range(4), SENSORS, 1.0).block(MIDNIGHT, 100))


@pytest.mark.parametrize(
    "sensor",
    [
        Sensor("latency", "ms"),
        Sensor("share", "1", (0.0, 1.0), (0.0, 1.0)),
        Sensor("temperature", "[degF]", (40.0, 60.0), (-100.0, 500.0), 0.25),
        Sensor("depth", "m", (-11_000.0, -10.0), (-12_000.0, 0.0), 5.0),
    ],
)
def test_an_unknown_sensor_lives_inside_its_plausible_range(sensor: Sensor) -> None:
    """Breaks if the simulator only works with temperature, humidity and noise in their usual units."""
    process = StationProcess(7, range(20), (sensor,), 60.0)
    values = process.block(MIDNIGHT // 60, 1440)
    assert np.isfinite(values).all() and (values.std(axis=0) > 0).all()
    assert sensor.plausible[0] < values.min() and values.max() < sensor.plausible[1]
    if sensor.resolution:
        steps = values / sensor.resolution
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-9)


def test_draws_are_independent_normals() -> None:
    """Breaks if the counter-based draws have another distribution, or neighbours in station or counter are related."""
    numbers = counter_rng.normals(
        counter_rng.bits(counter_rng.purpose_key(1, "x"), np.arange(400), np.arange(500)[:, None])
    )
    assert abs(numbers.mean()) < 0.01 and abs(numbers.std() - 1) < 0.01
    assert abs((numbers**4).mean() - 3) < 0.1
    assert abs(np.mean(numbers[1:] * numbers[:-1])) < 0.01 and abs(np.mean(numbers[:, 1:] * numbers[:, :-1])) < 0.01
    heavy = counter_rng.student(
        counter_rng.bits(counter_rng.purpose_key(1, "y"), np.arange(400), np.arange(500)[:, None]), 4.0
    )
    assert abs(heavy.std() - 1) < 0.05 and (np.abs(heavy) > 4).mean() > 10 * (np.abs(numbers) > 4).mean()
