"""Faults at a rate: which faults a station has is a pure function of the seed, the station and the stretch of time."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from iot_simulator.counter_rng import Floats, bits, purpose_key, uniforms
from iot_simulator.fault_table import Planned
from iot_simulator.process import StationProcess
from models.evaluation.fault_models import KINDS, UNIFORMS, Bend

MAGNITUDES = (3.0, 10.0)
# Shortest and longest, in readings: from what one reading shows up to what only the slow witnesses see.
LENGTHS = {
    "spike": (1, 3),
    "dip": (1, 3),
    "shift": (20, 240),
    "drift": (60, 480),
    "stuck": (30, 240),
    "dropout": (5, 60),
    "noise_burst": (10, 120),
    "decorrelation": (60, 480),
}
# A stretch holds the longest fault with room to spare, and is an hour unless the cadence is slow.
_STRETCH_READINGS = 720
_STRETCH_SECONDS = 3600.0
# Part of its slot that a fault may fill, so that two faults of a station never touch.
_FILL = 0.8
_MOST_PER_STRETCH = 1024
# A slot is at least so many readings: in a shorter one a stuck or drifting sensor would show nothing of it.
_SHORTEST_SLOT = 12


class FaultsAtRate:
    """Draws the faults of stretches of time.

    Time is cut into stretches of an hour (of 720 readings where that is longer). A stretch has a Poisson number of
    faults; each gets a slot of its own, so that none overlaps another and the faults under way are known from their
    stretch alone. Where many faults crowd a stretch, the long ones are cut to their slots, and it holds at most one
    fault in 12 readings, whatever the rate.

    Args:
        process: the stations; kinds, sensors, lengths (log-uniform), magnitudes (uniform, 3 to 10) come from its seed.
        rate: mean faults per station and hour.
    """

    def __init__(self, process: StationProcess, rate: float) -> None:
        self._process = process
        self.stretch_ticks = max(math.ceil(_STRETCH_SECONDS / process.cadence), _STRETCH_READINGS)
        mean = rate * self.stretch_ticks * process.cadence / 3600.0
        self._cumulative = _poisson_cumulative(mean, min(_MOST_PER_STRETCH - 1, self.stretch_ticks // _SHORTEST_SLOT))

    def stretch(self, number: int) -> Planned:
        """Return all faults of one stretch, counted from the epoch."""
        stations = self._process.stations
        counts = np.searchsorted(self._cumulative, self._draw("count", stations, np.int64(number)), side="right")
        slice_index = np.repeat(np.arange(len(stations)), counts)
        nth = np.arange(len(slice_index)) - np.repeat(np.cumsum(counts) - counts, counts)
        slot = self.stretch_ticks // np.maximum(counts, 1)[slice_index]
        return self._faults(number, slice_index, nth, slot)

    def _faults(
        self, number: int, slice_index: NDArray[np.int64], nth: NDArray[np.int64], slot: NDArray[np.int64]
    ) -> Planned:
        stations = self._process.stations[slice_index]
        counter = number * _MOST_PER_STRETCH + nth
        kind = (self._draw("kind", stations, counter) * len(KINDS)).astype(np.int64)
        sensor = (self._draw("sensor", stations, counter) * len(self._process.sensors)).astype(np.int64)
        magnitude = MAGNITUDES[0] + self._draw("magnitude", stations, counter) * (MAGNITUDES[1] - MAGNITUDES[0])
        magnitude = np.round(magnitude, 2)
        shortest, longest = (np.array([LENGTHS[name][end] for name in KINDS], dtype=np.float64)[kind] for end in (0, 1))
        wished = shortest * ((longest + 1) / shortest) ** self._draw("length", stations, counter)
        length = np.clip(np.floor(wished), 1, np.maximum(1, np.floor(slot * _FILL))).astype(np.int64)
        offset = np.floor(self._draw("start", stations, counter) * (slot - length)).astype(np.int64)
        start = number * self.stretch_ticks + nth * slot + offset
        character = np.stack([self._draw(f"character {field}", stations, counter) for field in range(UNIFORMS)], axis=1)
        size = magnitude * self._process.sigma[slice_index, sensor]
        return Planned(slice_index, sensor, start, magnitude, Bend.draw(kind, size, length, character))

    def _draw(self, purpose: str, stations: NDArray[np.uint64], counter: NDArray[np.int64] | np.int64) -> Floats:
        return uniforms(bits(purpose_key(self._process.seed, "fault", purpose), stations, counter))


def _poisson_cumulative(mean: float, most: int) -> Floats:
    """P(count <= k) for k = 0 .. most-1; counts beyond are cut to `most`."""
    number = np.arange(most)
    if mean == 0:
        return np.ones(most)
    logs = number * math.log(mean) - mean - np.array([math.lgamma(k + 1) for k in number])
    return np.cumsum(np.exp(logs))
