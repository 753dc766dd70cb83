"""What the stations of a plant are like: how each sensor behaves, and how one station differs from another."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from core.sensors import Sensor
from iot_simulator.counter_rng import Floats, bits, purpose_key, uniforms


@dataclass(frozen=True)
class Profile:
    """How one sensor behaves in any station.

    The shares say which part of the sensor's variance comes from where; their absolute values add up to 1, and a
    negative one moves the sensor against the common cause.

    Args:
        nominal: range, in the sensor's unit, that a station's nominal value is drawn from.
        sigma: range of a station's total standard deviation, daily cycle included.
        daily: share of the daily cycle.
        climate: share of what air and heat load do to all sensors of the station at once (15 min).
        activity: share of what the machines do (10 min).
        own: share of the sensor's own surroundings (5 min).
        noise: share of the sensor's noise, fresh in each reading.
        peak_hour: hour of the day (UTC) at which the cycle is highest.
    """

    nominal: tuple[float, float]
    sigma: tuple[float, float]
    daily: float = 0.40
    climate: float = 0.20
    activity: float = 0.05
    own: float = 0.15
    noise: float = 0.20
    peak_hour: float = 14.0


# A factory hall: warm by day, drier when warmer, loud while the shift works.
FACTORY = {
    "temperature": Profile((18.0, 26.0), (0.8, 2.0), 0.40, 0.30, 0.05, 0.10, 0.15, peak_hour=15.0),
    "humidity": Profile((38.0, 58.0), (2.0, 4.5), -0.35, -0.35, 0.0, 0.15, 0.15, peak_hour=15.0),
    "noise": Profile((58.0, 80.0), (1.5, 4.0), 0.45, 0.0, 0.30, 0.05, 0.20, peak_hour=11.0),
}

# Spreads that a nominal value keeps from the plausible bounds, so that a healthy station does not break the range rule.
_ROOM = 8.0
# A plausible range wider than this says nothing about what the sensor usually reports.
_UNINFORMATIVE = 1e9


def profile_of(sensor: Sensor) -> Profile:
    """Return the factory's profile of a sensor if it fits the plausible range, else a generic one inside that range."""
    low, high = sensor.plausible
    known = FACTORY.get(sensor.name)
    if known and low <= known.nominal[0] - _ROOM * known.sigma[1] and known.nominal[1] + _ROOM * known.sigma[1] <= high:
        return known
    direction = 1.0 if zlib.crc32(sensor.name.encode()) % 2 else -1.0
    if high - low > _UNINFORMATIVE:
        low, high = max(low, min(0.0, high - 100.0)), min(high, max(100.0, low + 100.0))
    span = high - low
    generic = Profile((low + 0.35 * span, low + 0.65 * span), (0.01 * span, 0.03 * span))
    return replace(generic, climate=direction * generic.climate)


@dataclass(frozen=True)
class StationTraits:
    """How each station differs: (n_stations, n_sensors) arrays in the sensors' units, and hours for the peak."""

    nominal: Floats
    sigma: Floats
    peak_hour: Floats


def draw_traits(seed: int, stations: NDArray[np.uint64], sensors: tuple[Sensor, ...]) -> StationTraits:
    """Draw the traits of stations. They depend on the seed, the station's index and the sensor's name alone."""
    columns = [_sensor_traits(seed, stations, sensor) for sensor in sensors]
    nominal, sigma, peak_hour = (np.stack(part, axis=1) for part in zip(*columns, strict=True))
    return StationTraits(nominal, sigma, peak_hour)


def _sensor_traits(seed: int, stations: NDArray[np.uint64], sensor: Sensor) -> tuple[Floats, Floats, Floats]:
    profile = profile_of(sensor)
    share = [uniforms(bits(purpose_key(seed, "traits", sensor.name), stations, field)) for field in range(3)]
    nominal = profile.nominal[0] + share[0] * (profile.nominal[1] - profile.nominal[0])
    sigma = profile.sigma[0] + share[1] * (profile.sigma[1] - profile.sigma[0])
    return nominal, sigma, profile.peak_hour + 2.0 * share[2] - 1.0
