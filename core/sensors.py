"""What a station measures: the sensor catalogue, which is configuration and not code."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

SENSOR_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")

# UCUM codes that people write otherwise.
_UNIT_SHOWN = {"Cel": "°C", "1": ""}


@dataclass(frozen=True)
class Sensor:
    """One measured quantity of every station.

    Args:
        name: key in the reading's JSON, lower case; also the name in tables, models and pages.
        unit: UCUM code, as shown beside the value (`Cel`, `%`, `dB`).
        plausible: (low, high) in `unit`. Beyond it a reading is valid, stored and an anomaly by rule.
        hard: (low, high) in `unit`. Beyond it a reading is physically impossible: a dead letter.
        resolution: smallest step in `unit` the sensor reports; 0 when unknown.
        optional: the key may be absent from a reading, which then counts as missing.

    Raises:
        ValueError: a bad name, or bounds that are not nested, low < high, within what float32 holds.
    """

    name: str
    unit: str = "1"
    plausible: tuple[float, float] = (-1e12, 1e12)
    hard: tuple[float, float] = (-1e15, 1e15)
    resolution: float = 0.0
    optional: bool = False

    def __post_init__(self) -> None:
        if not SENSOR_NAME.fullmatch(self.name):
            raise ValueError(f"sensor name {self.name!r}: expected {SENSOR_NAME.pattern}")
        if self.name in RESERVED_NAMES:
            raise ValueError(f"sensor name {self.name!r} is a field of every reading; choose another")
        bounds = (self.hard[0], self.plausible[0], self.plausible[1], self.hard[1])
        ordered = bounds[0] <= bounds[1] < bounds[2] <= bounds[3]
        if not all(abs(bound) < MOST for bound in bounds) or not ordered:
            raise ValueError(
                f"sensor {self.name!r}: expected hard[0] <= plausible[0] < plausible[1] <= hard[1] within +-{MOST:g}, "
                f"got {bounds}"
            )
        if not (math.isfinite(self.resolution) and self.resolution >= 0):
            raise ValueError(f"sensor {self.name!r}: resolution {self.resolution} must be finite and >= 0")


MOST = 3e38  # what is kept of a reading as float32 must hold it
RESERVED_NAMES = frozenset({"schema_version", "station_id", "event_time", "seq"})

DEFAULT_SENSORS = (
    Sensor("temperature", "Cel", (-40.0, 85.0), (-273.15, 1000.0), 0.1),
    Sensor("humidity", "%", (0.0, 100.0), (-10.0, 110.0), 0.1),
    Sensor("noise", "dB", (0.0, 140.0), (-20.0, 200.0), 0.1),
)


def check_catalogue(sensors: tuple[Sensor, ...]) -> tuple[Sensor, ...]:
    """Return `sensors` when they are a usable catalogue.

    Raises:
        ValueError: empty, or the same name twice.
    """
    names = [sensor.name for sensor in sensors]
    if not names:
        raise ValueError("the sensor catalogue is empty; configure at least one sensor")
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ValueError(f"sensor names must be unique; doubled: {', '.join(doubled)}")
    return sensors


def number(value: float, sensor: Sensor) -> str:
    """Return a value as exact as the sensor reports it; four digits where that is not known."""
    if sensor.resolution <= 0.0:
        return f"{value:.4g}"
    return f"{value:.{max(0, math.ceil(-math.log10(sensor.resolution) - 1e-9))}f}"


def with_unit(value: float, sensor: Sensor) -> str:
    """Return a value with its unit, as people write it."""
    return f"{number(value, sensor)} {_UNIT_SHOWN.get(sensor.unit, sensor.unit)}".rstrip()
