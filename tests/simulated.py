"""Simulated stations as histories and as the stream would sample them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from core.sensors import DEFAULT_SENSORS
from iot_simulator.process import StationProcess
from models.scoring.feature_block import pack_row
from models.scoring.feature_samples import Samples
from models.scoring.history import History
from storage.tables.feature_samples import SampleRow

CADENCE = 120
FIRST = 1_767_571_200 // CADENCE  # a Monday, 2026-01-05T00:00Z
DAY = 86_400 // CADENCE
START_MS = FIRST * CADENCE * 1000


def simulated(seed: int, ticks: int, stations: int = 20, shift: tuple[int, float, int] | None = None) -> History:
    """Healthy readings from the Monday on, a reading every two minutes; `shift`: sensor, sigmas, from which tick on."""
    process = StationProcess(seed, range(stations), DEFAULT_SENSORS, float(CADENCE))
    values = process.block(FIRST, ticks)
    if shift is not None:
        sensor, sigmas, since = shift
        values[since:, :, sensor] += sigmas * process.sigma[:, sensor]
    tick = np.repeat(np.arange(FIRST, FIRST + ticks, dtype=np.int64), stations)
    names = [f"s{number}" for number in range(stations)] * ticks
    return History(names, tick * CADENCE * 1000, tick * CADENCE * 1000, tick, values.reshape(-1, len(DEFAULT_SENSORS)))


def sample_rows(samples: Samples, version: int) -> Iterator[SampleRow]:
    """The samples as rows of `feature_samples`, each in a slot of its own."""
    taken: dict[int, int] = {}
    for row in range(len(samples)):
        event_ms = int(samples.event_ms[row])
        slot = taken[event_ms // 60_000] = taken.get(event_ms // 60_000, -1) + 1
        yield SampleRow(
            event_ms, slot, row + 1, samples.station_ids[row], row, pack_row(samples.blocks, row), 1, 0.5,
            int(samples.flags[row]), version,
        )  # fmt: skip
