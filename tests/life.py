"""A plant that ran for some days, as its stream would have stored it, and its first model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.sensors import DEFAULT_SENSORS
from models.scoring.artefact import LoadedArtefact, load, sha256_of
from models.scoring.feature_samples import Samples, samples_of
from models.scoring.history import History
from models.training.train_steps import Training, fit
from storage.driver.session import Store
from storage.tables.feature_samples import write_samples
from storage.tables.readings import ReadingRow, write_readings
from storage.tables.stations import StationRow, write_stations
from tests.simulated import CADENCE, DAY, sample_rows, simulated

TREES, BUDGET, STATIONS = 50, 1.0, 10
DAY_MS = 86_400_000


@dataclass(frozen=True)
class Life:
    """Two days of healthy readings up to `now_ms`, and a version fitted on two other days.

    Args:
        history: what the stream saw.
        samples: of it, as the state showed them.
        first: the version that judged.
        loaded: the same, opened.
    """

    history: History
    samples: Samples
    first: Training
    loaded: LoadedArtefact


def lived(now_ms: int) -> Life:
    """Simulate it; takes some seconds."""
    first = fit(simulated(1, 2 * DAY, STATIONS), DEFAULT_SENSORS, trees=TREES, budget=BUDGET, seed=1)
    history = moved(simulated(2, 2 * DAY, STATIONS), now_ms)
    samples = samples_of(history, DEFAULT_SENSORS, first.prior, len(history))
    loaded = load(first.artefact, sha256_of(first.artefact))
    flags = loaded.detector.judge(samples.blocks).flags
    return Life(history, Samples(samples.station_ids, samples.event_ms, flags, samples.blocks), first, loaded)


def moved(history: History, now_ms: int) -> History:
    """The same readings some whole days later, so that the last is within a day before `now_ms`."""
    days = (now_ms - int(history.event_ms.max())) // DAY_MS * DAY_MS
    times = history.event_ms + days
    return History(history.station_ids, times, times, history.seq, history.values)


def store_life(store: Store, life: Life) -> None:
    """Write samples, readings and stations as the stream does."""
    write_samples(store, sample_rows(life.samples, 1))
    write_readings(store, reading_rows(life.history))
    last = int(life.history.event_ms.max())
    names = sorted(set(life.history.station_ids))
    write_stations(store, [StationRow(name, last, last, 2 * DAY, float(CADENCE), {}, {}) for name in names])


def reading_rows(history: History) -> list[ReadingRow]:
    """The readings, none flagged; a missing value is absent."""
    rows = []
    for place, name in enumerate(history.station_ids):
        values = history.values[place]
        sensors = {
            sensor.name: float(value)
            for sensor, value in zip(DEFAULT_SENSORS, values, strict=True)
            if not np.isnan(value)
        }
        event = int(history.event_ms[place])
        rows.append(ReadingRow(name, event, int(history.seq[place]), sensors, 0.5, 0.0, 0, 1, 0, place, event, event))
    return rows
