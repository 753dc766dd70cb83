"""Faults by schedule: what `--fault` says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import SettingsError
from core.sensors import Sensor
from iot_simulator.counter_rng import bits, purpose_key, uniforms
from iot_simulator.fault_table import Planned, no_faults
from iot_simulator.process import StationProcess
from iot_simulator.units import parse_duration
from models.evaluation.fault_models import KINDS, UNIFORMS, Bend

_GRAMMAR = "STATION:SENSOR:KIND:+OFFSET:DURATION:MAGNITUDE, such as station-0007:temperature:spike:+20s:10s:10"
_STATION = re.compile(r"station-(\d{4,})")


@dataclass(frozen=True)
class ScheduledFault:
    """One fault of the schedule, times in seconds, `offset` from the start of the run, `magnitude` in sigma."""

    station: int
    sensor: str
    kind: str
    offset: float
    duration: float
    magnitude: float


def station_id(index: int) -> str:
    """Return the id of a station; it does not depend on how many there are."""
    return f"station-{index:04d}"


def parse_fault(text: str, sensors: tuple[Sensor, ...], stations: int) -> ScheduledFault:
    """Read one `--fault`.

    Raises:
        SettingsError: names the part that is wrong, its value and what is expected.
    """
    parts = text.split(":")
    if len(parts) != 6:
        raise SettingsError(f"--fault {text!r}: expected {_GRAMMAR}")
    station, sensor, kind, offset, duration, magnitude = parts
    names = [known.name for known in sensors]
    if not (match := _STATION.fullmatch(station)) or station_id(int(match[1])) != station or int(match[1]) >= stations:
        raise SettingsError(f"--fault {text!r}: station {station!r}: the last one is {station_id(stations - 1)}")
    if sensor not in names:
        raise SettingsError(f"--fault {text!r}: sensor {sensor!r}: expected one of {', '.join(names)}")
    if kind not in KINDS:
        raise SettingsError(f"--fault {text!r}: kind {kind!r}: expected one of {', '.join(KINDS)}")
    try:
        size = float(magnitude)
    except ValueError:
        size = float("nan")
    if not 0 < size < 1e6:
        raise SettingsError(f"--fault {text!r}: magnitude {magnitude!r}: expected a positive number of sigma")
    return ScheduledFault(int(match[1]), sensor, kind, parse_duration(offset), parse_duration(duration), size)


def schedule(process: StationProcess, faults: Sequence[ScheduledFault], first_tick: int) -> Planned:
    """Plan the faults that concern the stations of this slice, counted from `first_tick`."""
    places = {int(station): place for place, station in enumerate(process.stations)}
    mine = [fault for fault in faults if fault.station in places]
    if not mine:
        return no_faults()
    names = [sensor.name for sensor in process.sensors]
    station = np.array([places[fault.station] for fault in mine])
    sensor = np.array([names.index(fault.sensor) for fault in mine])
    start = first_tick + np.array([round(fault.offset / process.cadence) for fault in mine])
    length = np.array([max(1, round(fault.duration / process.cadence)) for fault in mine])
    magnitude = np.array([fault.magnitude for fault in mine])
    kind = [KINDS.index(fault.kind) for fault in mine]
    key = purpose_key(process.seed, "scheduled fault")
    character = uniforms(bits(key, process.stations[station][:, None], start[:, None] * UNIFORMS + np.arange(UNIFORMS)))
    bend = Bend.draw(kind, magnitude * process.sigma[station, sensor], length, character)
    return Planned(station, sensor, start, magnitude, bend)
