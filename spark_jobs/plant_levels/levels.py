"""From a sample of readings to the plant's levels."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from core.errors import InvalidReading
from core.reading import Validator
from core.sensors import Sensor
from spark_jobs.plant_levels.sample import Record

RANKS = {"p05": 5.0, "p50": 50.0, "p95": 95.0}


@dataclass(frozen=True)
class Levels:
    """What the plant measures at the moment, over stations: each counts once, with its newest reading.

    Args:
        stations: in the sample.
        newest_ms: record time of the newest record, ms since the epoch; None without any.
        ranks: sensor → rank (`p05`, `p50`, `p95`) → value in the sensor's unit; without sensors that nobody measured.
        missing: sensor → share of stations without a value, 0..1.
        implausible: sensor → share of stations outside of the plausible range, 0..1.
        refused: share of records that are no readings, 0..1.
    """

    stations: int
    newest_ms: int | None
    ranks: dict[str, dict[str, float]]
    missing: dict[str, float]
    implausible: dict[str, float]
    refused: float


def levels_of(records: Iterable[Record], sensors: tuple[Sensor, ...]) -> Levels:
    """Return the levels of a sample.

    Not for: judging a station; that is the detector's. A level moves when the plant as a whole does.
    """
    validate = Validator(sensors).validate
    newest: dict[str, tuple[float, ...]] = {}
    newest_ms, taken, refused = None, 0, 0
    for record in records:
        taken += 1
        newest_ms = max(newest_ms or 0, record.record_ms)
        try:
            reading = validate(record.key, record.value, record.record_ms)
        except InvalidReading:
            refused += 1
            continue
        newest[reading.station_id] = reading.values
    values = np.array(list(newest.values())).reshape(len(newest), len(sensors))
    ranks, missing, implausible = {}, {}, {}
    for column, sensor in enumerate(sensors):
        measured = values[~np.isnan(values[:, column]), column]
        if len(newest):
            missing[sensor.name] = 1.0 - len(measured) / len(newest)
            low, high = sensor.plausible
            implausible[sensor.name] = float(np.sum((measured < low) | (measured > high))) / len(newest)
        if len(measured):
            found = np.percentile(measured, list(RANKS.values()))
            ranks[sensor.name] = dict(zip(RANKS, map(float, found), strict=True))
    return Levels(len(newest), newest_ms, ranks, missing, implausible, refused / taken if taken else math.nan)
