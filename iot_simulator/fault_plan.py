"""Injection: bends the readings of a slice of stations and says so in labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from iot_simulator.counter_rng import Floats, bits, normals, purpose_key
from iot_simulator.fault_schedule import station_id
from iot_simulator.fault_table import Planned, joined
from iot_simulator.faults_at_rate import FaultsAtRate
from iot_simulator.process import StationProcess
from iot_simulator.units import from_milliseconds, tick_milliseconds
from models.evaluation.fault_models import HOLDING, KINDS, Fault, bent


class FaultPlan:
    """All faults of a slice of stations: those of the schedule, and those at a rate.

    Args:
        process: the healthy stations.
        rate: faults per station and hour.
        scheduled: faults of the schedule; where one meets a fault at a rate, it wins.
    """

    def __init__(self, process: StationProcess, rate: float, scheduled: Planned) -> None:
        self._process, self._scheduled = process, scheduled
        self._at_rate = FaultsAtRate(process, rate) if rate > 0 else None
        self._stretches: dict[int, Planned] = {}
        self._held: dict[tuple[int, int, int], float] = {}
        self._labelled: dict[tuple[int, int, int, int], int] = {}
        names = [sensor.name for sensor in process.sensors]
        self._noise_keys = np.array([purpose_key(process.seed, "noise burst", name) for name in names])

    def apply(self, values: Floats, first_tick: int) -> list[Fault]:
        """Bend a block of readings in place.

        Args:
            values: (ticks, n_stations, n_sensors) healthy readings from `first_tick` on.
            first_tick: tick of the first row.

        Returns:
            Labels of the faults that bend the block and were not returned before.
        """
        end_tick = first_tick + len(values)
        faults = self._under_way(first_tick, end_tick)
        self._forget(first_tick)
        if len(faults) == 0:
            return []
        held = self._hold(faults, values, first_tick)
        fault, tick = _elements(faults, first_tick, end_tick)
        where = (tick - first_tick, faults.station[fault], faults.sensor[fault])
        stations = self._process.stations[where[1]]
        noise = normals(bits(self._noise_keys[where[2]], stations, tick))
        broken = bent(values[where], tick - faults.start[fault], held[fault], noise, faults.bend.take(fault))
        values[where] = self._reported(broken, where[2])
        return self._labels(faults)

    def _under_way(self, first_tick: int, end_tick: int) -> Planned:
        scheduled = self._scheduled.within(first_tick, end_tick)
        if self._at_rate is None:
            return scheduled
        length = self._at_rate.stretch_ticks
        wanted = range(first_tick // length, (end_tick - 1) // length + 1)
        known = self._stretches
        self._stretches = {
            number: known[number] if number in known else self._at_rate.stretch(number) for number in wanted
        }
        return joined([*(plan.within(first_tick, end_tick) for plan in self._stretches.values()), scheduled])

    def _hold(self, faults: Planned, values: Floats, first_tick: int) -> Floats:
        """Return what each sensor reported at the first reading of its fault; NaN for kinds that do not ask."""
        held = np.full(len(faults), np.nan)
        for number in np.flatnonzero(np.isin(faults.bend.kind, list(HOLDING))):
            station, sensor, start = (int(part[number]) for part in (faults.station, faults.sensor, faults.start))
            key = (station, sensor, start)
            if key not in self._held and start >= first_tick:
                self._held[key] = float(values[start - first_tick, station, sensor])
            elif key not in self._held:
                self._held[key] = float(self._process.one_station(station).block(start, 1)[0, 0, sensor])
            held[number] = self._held[key]
        return held

    def _reported(self, broken: Floats, column: NDArray[np.int64]) -> Floats:
        """Round to the resolution; a broken sensor may leave the plausible range, never the hard one."""
        for number in np.unique(column):
            mine = column == number
            broken[mine] = self._process.report(broken[mine], int(number), self._process.sensors[number].hard)
        return broken

    def _labels(self, faults: Planned) -> list[Fault]:
        labels = []
        ends = faults.end
        for number in range(len(faults)):
            station, sensor, kind, start, end = (
                int(part[number]) for part in (faults.station, faults.sensor, faults.bend.kind, faults.start, ends)
            )
            if self._labelled.setdefault((station, sensor, kind, start), -1) == -1:
                self._labelled[station, sensor, kind, start] = end
                labels.append(self._label(station, sensor, kind, start, end, float(faults.magnitude[number])))
        return labels

    def _label(self, station: int, sensor: int, kind: int, start: int, end: int, magnitude: float) -> Fault:
        first, after = (from_milliseconds(tick_milliseconds(tick, self._process.cadence)) for tick in (start, end))
        name = station_id(int(self._process.stations[station]))
        return Fault(name, self._process.sensors[sensor].name, KINDS[kind], first, after, magnitude)

    def _forget(self, first_tick: int) -> None:
        """Drop what is kept of faults that ended; blocks are asked for in order of time."""
        ended = [key for key, end in self._labelled.items() if end <= first_tick]
        for station, sensor, kind, start in ended:
            del self._labelled[station, sensor, kind, start]
            self._held.pop((station, sensor, start), None)


def _elements(faults: Planned, first_tick: int, end_tick: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return every (fault, tick) pair of the block: two flat arrays of equal length."""
    begin, stop = np.maximum(faults.start, first_tick), np.minimum(faults.end, end_tick)
    counts = stop - begin
    fault = np.repeat(np.arange(len(faults)), counts)
    tick = np.arange(len(fault)) - np.repeat(np.cumsum(counts) - counts, counts) + begin[fault]
    return fault, tick
