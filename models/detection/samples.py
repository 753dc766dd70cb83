"""A sample of readings with their blocks: what drift and fitting read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.detection.block import Blocks
from models.detection.kernel import ACCEPTED
from models.detection.pooling import History, steps
from models.detection.prior import Prior
from models.detection.sensors import Sensor
from models.detection.witness_kernel import Recipe

HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Samples:
    """Readings of many stations, in any order.

    Args:
        station_ids: n names.
        event_ms: (n,) int64, ms since the epoch.
        flags: (n,) int32 of `verdict.Flag`, as the version that judged them said.
        blocks: n readings.
    """

    station_ids: Sequence[str]
    event_ms: np.ndarray
    flags: np.ndarray
    blocks: Blocks

    def __len__(self) -> int:
        return len(self.event_ms)

    @property
    def hours(self) -> np.ndarray:
        """Hour of the day in UTC, (n,) int64."""
        return (self.event_ms // HOUR_MS) % 24

    def take(self, chosen: np.ndarray) -> Samples:
        """Return the chosen rows (indices or mask)."""
        rows = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        names = [self.station_ids[row] for row in rows.tolist()]
        return Samples(names, self.event_ms[rows], self.flags[rows], self.blocks.take(rows))

    def between(self, start_ms: int, end_ms: int) -> Samples:
        """Return the rows with start_ms <= event_ms < end_ms."""
        return self.take((self.event_ms >= start_ms) & (self.event_ms < end_ms))


def samples_of(history: History, sensors: tuple[Sensor, ...], prior: Prior, most: int) -> Samples:
    """Run a history through a fresh state and keep about `most` readings, scattered; nothing is flagged yet."""
    every = max(1, -(-len(history) // most))
    names: list[str] = []
    event_ms: list[np.ndarray] = []
    rows: list[np.ndarray] = []
    at = 0
    for part, step in zip(history.parts(), steps(history, sensors, prior, Recipe()), strict=True):
        # Stations take turns in a history: an even stride would see some of them only.
        chosen = np.flatnonzero((step.outcome == ACCEPTED) & (_mixed(np.arange(at, at + len(part))) % every == 0))
        at += len(part)
        names += [part.station_ids[row] for row in chosen.tolist()]
        event_ms.append(part.event_ms[chosen])
        rows.append(step.blocks.rows[chosen])
    blocks = Blocks(tuple(sensor.name for sensor in sensors), np.concatenate(rows))
    return Samples(names, np.concatenate(event_ms), np.zeros(len(names), np.int32), blocks)


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """Scatter numbers, so that every so many-th is of any station and any time of the day. Source: splitmix64."""
    mixed = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    return mixed ^ (mixed >> np.uint64(31))
