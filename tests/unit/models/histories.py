"""Histories of simple stations: white noise around a slow walk, a level of their own for each station."""

from __future__ import annotations

import numpy as np

from models.scoring.history import History

START_MS = 1_790_000_000_000


def make_history(
    rng: np.random.Generator,
    stations: int = 5,
    readings: int = 400,
    sensors: int = 3,
    cadence: float = 1.0,
    resolution: float = 0.1,
    start_ms: int = START_MS,
) -> History:
    """Readings in order of time, station after station in each tick."""
    level = rng.normal(20.0, 3.0, (1, stations, sensors))
    walk = np.cumsum(rng.normal(0.0, 0.02, (readings, stations, sensors)), axis=0)
    values = level + walk + rng.normal(0.0, 1.0, (readings, stations, sensors))
    if resolution:
        values = np.round(values / resolution) * resolution
    event_ms = np.repeat(start_ms + np.arange(readings) * int(cadence * 1000), stations)
    names = [f"s{number}" for number in range(stations)] * readings
    seq = np.repeat(np.arange(readings), stations)
    return History(names, event_ms, event_ms, seq, values.reshape(-1, sensors))
