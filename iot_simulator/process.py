"""The stationary process of the stations: what healthy sensors report at any tick."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.sensors import Sensor
from iot_simulator import counter_rng
from iot_simulator.counter_rng import Floats, purpose_key
from iot_simulator.profiles import draw_traits, profile_of

Flavour = Literal["plain", "hard"]

DAY = 86_400.0
_TAU = {"climate": 900.0, "activity": 600.0, "own": 300.0}
_KNOTS_PER_TAU = 10
# 30 time constants: a restarted walk differs from the one that never stopped by e^-30, far below any rounding.
_WARM_UP_KNOTS = 30 * _KNOTS_PER_TAU
# Most random numbers made at once, so that 10,000 stations warm up in some 50 MB.
_MOST_DRAWS = 1_000_000


class StationProcess:
    """Healthy readings of a slice of stations, vectorised over stations.

    Per station and sensor: x(t) = nominal + sigma · (daily cycle + climate + activity + own + noise), each part of zero
    mean and with the share of variance that the sensor's profile gives it. Climate and activity are walks common to the
    station's sensors, so these move together; walks revert to zero (Ornstein-Uhlenbeck) and are functions of continuous
    time, so their statistics do not depend on the cadence. The result is rounded to the resolution and kept inside the
    plausible range. `sigma` is a sensor's total standard deviation, daily cycle included: the unit of fault magnitudes.

    The flavour `hard` adds what a detector finds hard: t-distributed noise (4 degrees of freedom), nominal values that
    move from day to day by 0.5 sigma, doors that open. It promises nothing about daily means.

    Any block may be asked for at any time; asking for blocks in a row is cheapest. Not thread-safe.

    Args:
        seed: the plant; same seed, same bytes.
        stations: indices of the stations in the plant. A station is the same in any slice.
        sensors: the catalogue.
        cadence: seconds between two readings.
        flavour: `plain` is Gaussian.
    """

    def __init__(
        self,
        seed: int,
        stations: Sequence[int],
        sensors: tuple[Sensor, ...],
        cadence: float,
        flavour: Flavour = "plain",
    ) -> None:
        self.seed, self.sensors, self.cadence, self.flavour = seed, sensors, cadence, flavour
        self.stations: NDArray[np.uint64] = np.asarray(stations, dtype=np.uint64)
        self._profiles = [profile_of(sensor) for sensor in sensors]
        traits = draw_traits(seed, self.stations, sensors)
        self.nominal, self.sigma, self._peak_hour = traits.nominal, traits.sigma, traits.peak_hour
        self._climate, self._activity = self._walk("climate"), self._walk("activity")
        self._own = [self._walk("own", sensor.name) for sensor in sensors]
        self._noise_keys = [purpose_key(seed, "noise", sensor.name) for sensor in sensors]

    def block(self, first_tick: int, ticks: int) -> Floats:
        """Return (ticks, n_stations, n_sensors) readings from `first_tick` on, in the sensors' units."""
        tick = np.arange(first_tick, first_tick + ticks, dtype=np.int64)
        seconds = tick * self.cadence
        common = {"climate": self._climate.at(seconds), "activity": self._activity.at(seconds)}
        result = np.empty((ticks, len(self.stations), len(self.sensors)))
        for column in range(len(self.sensors)):
            result[:, :, column] = self._sensor(column, tick, seconds, common)
        return result

    def one_station(self, index: int) -> StationProcess:
        """Return the process of the station at `index` of this slice alone, to look at another time at little cost."""
        return StationProcess(
            self.seed, self.stations[index : index + 1].tolist(), self.sensors, self.cadence, self.flavour
        )

    def report(self, values: Floats, column: int, bounds: tuple[float, float]) -> Floats:
        """Round values to what the sensor reports and keep them inside `bounds`."""
        resolution = self.sensors[column].resolution
        if resolution:
            values = np.round(values / resolution) * resolution
        return np.round(np.clip(values, *bounds), self._decimals(column))

    def _sensor(self, column: int, tick: NDArray[np.int64], seconds: Floats, common: dict[str, Floats]) -> Floats:
        profile, sigma = self._profiles[column], self.sigma[:, column]
        parts = {
            "daily": _daily_cycle(seconds, self._peak_hour[:, column]),
            "own": self._own[column].at(seconds),
            "noise": self._noise(column, tick),
            **common,
        }
        unit = sum(_loading(getattr(profile, name)) * part for name, part in parts.items() if getattr(profile, name))
        if self.flavour == "hard":
            unit = unit + self._hardship(column, seconds)
        return self.report(self.nominal[:, column] + sigma * unit, column, self.sensors[column].plausible)

    def _noise(self, column: int, tick: NDArray[np.int64]) -> Floats:
        random_bits = counter_rng.bits(self._noise_keys[column], self.stations, tick[:, None])
        return counter_rng.student(random_bits, 4.0) if self.flavour == "hard" else counter_rng.normals(random_bits)

    def _hardship(self, column: int, seconds: Floats) -> Floats:
        """Day-to-day shifts, and doors for the sensors that follow the climate; in sigma."""
        name = self.sensors[column].name
        day = seconds[:, None] / DAY - 0.5
        key, before = purpose_key(self.seed, "day", name), np.floor(day).astype(np.int64)
        level = [counter_rng.normals(counter_rng.bits(key, self.stations, before + step)) for step in (0, 1)]
        shift = 0.5 * (level[0] + (day - before) * (level[1] - level[0]))
        return shift - np.sign(self._profiles[column].climate) * self._doors(seconds)

    def _doors(self, seconds: Floats) -> Floats:
        """Cold air through doors: three hours in ten have one; it fades within some ten minutes."""
        total = np.zeros((len(seconds), len(self.stations)))
        hour = np.floor(seconds / 3600.0).astype(np.int64)[:, None]
        for earlier in (0, 1):
            opens, when, how_much = (
                counter_rng.uniforms(
                    counter_rng.bits(purpose_key(self.seed, "door", field), self.stations, hour - earlier)
                )
                for field in ("opens", "when", "much")
            )
            since = np.maximum(seconds[:, None] - 3600.0 * (hour - earlier + when), 0.0)
            total += (opens < 0.3) * (1.0 + 2.0 * how_much) * np.exp(-since / 240.0) * -np.expm1(-since / 20.0)
        return total

    def _walk(self, kind: str, sensor: str = "") -> _Walk:
        return _Walk(purpose_key(self.seed, kind, sensor), self.stations, _TAU[kind] / _KNOTS_PER_TAU)

    def _decimals(self, column: int) -> int:
        resolution = self.sensors[column].resolution
        if resolution:
            return max(0, min(12, 1 - math.floor(math.log10(resolution))))
        return max(0, min(12, 4 - math.floor(math.log10(self._profiles[column].sigma[1]))))


class _Walk:
    """A mean-reverting walk of variance 1 per station: an AR(1) sequence on knots of time, straight lines between."""

    def __init__(self, key: np.uint64, stations: NDArray[np.uint64], knot_seconds: float) -> None:
        self._key, self._stations, self._knot_seconds = key, stations, knot_seconds
        self._decay = math.exp(-1.0 / _KNOTS_PER_TAU)
        self._kick = math.sqrt(1.0 - self._decay**2)
        self._first = 0
        self._path: Floats = np.empty((0, len(stations)))

    def at(self, seconds: Floats) -> Floats:
        """Return (n, n_stations) at ascending epoch seconds (n,)."""
        knot = np.floor(seconds / self._knot_seconds).astype(np.int64)
        self._reach(int(knot[0]), int(knot[-1]) + 1)
        share = (seconds / self._knot_seconds - knot)[:, None]
        left = knot - self._first
        return self._path[left] * (1.0 - share) + self._path[left + 1] * share

    def _reach(self, first: int, last: int) -> None:
        """Hold the knots first..last, going on from those at hand if they touch."""
        held_last = self._first + len(self._path) - 1
        if not (len(self._path) and self._first <= first <= held_last):
            self._first, self._path = first, self._settled(first)[None, :]
            held_last = first
        fresh = self._continued(self._path[-1], held_last + 1, last)
        self._path = np.concatenate([self._path[first - self._first :], fresh])
        self._first = first

    def _settled(self, knot: int) -> Floats:
        """Value at one knot, from the kicks of the last 30 time constants."""
        value = np.zeros(len(self._stations))
        start = knot - _WARM_UP_KNOTS
        for chunk in self._chunks(start, knot):
            weights = self._decay ** np.arange(len(chunk) - 1, -1, -1.0)
            value = value * self._decay ** len(chunk) + self._kick * (weights @ self._kicks(chunk))
        return value

    def _continued(self, value: Floats, first: int, last: int) -> Floats:
        path = np.empty((max(0, last - first + 1), len(self._stations)))
        for chunk in self._chunks(first, last):
            for knot, kick in zip(chunk, self._kicks(chunk), strict=True):
                value = self._decay * value + self._kick * kick
                path[knot - first] = value
        return path

    def _kicks(self, knots: range) -> Floats:
        counter = np.arange(knots.start, knots.stop, dtype=np.int64)[:, None]
        return counter_rng.normals(counter_rng.bits(self._key, self._stations, counter))

    def _chunks(self, first: int, last: int) -> list[range]:
        size = max(1, _MOST_DRAWS // max(1, len(self._stations)))
        return [range(start, min(start + size, last + 1)) for start in range(first, last + 1, size)]


def _loading(share: float) -> float:
    """Factor that gives a part of variance 1 its share of the variance, with the share's direction."""
    return math.copysign(math.sqrt(abs(share)), share)


def _daily_cycle(seconds: Floats, peak_hour: Floats) -> Floats:
    """Cycle of variance 1 and mean 0 over a day: (n, n_stations). Two waves, so that it is not a plain sine."""
    turn = 2.0 * np.pi * (seconds[:, None] / DAY - peak_hour / 24.0)
    return math.sqrt(2.0) * (0.95 * np.cos(turn) + math.sqrt(1.0 - 0.95**2) * np.cos(2.0 * turn))
