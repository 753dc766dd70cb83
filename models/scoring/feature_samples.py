"""A sample of readings with their blocks: what drift and fitting read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.sensors import Sensor
from models.kernels.state_kernel import ACCEPTED
from models.kernels.statistics_kernel import Recipe
from models.scoring.feature_block import Blocks
from models.scoring.history import History, steps
from models.scoring.station_prior import Prior

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
        return _hours(self.event_ms)

    def take(self, chosen: np.ndarray) -> Samples:
        """Return the chosen rows (indices or mask)."""
        rows = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        names = [self.station_ids[row] for row in rows.tolist()]
        return Samples(names, self.event_ms[rows], self.flags[rows], self.blocks.take(rows))

    def between(self, start_ms: int, end_ms: int) -> Samples:
        """Return the rows with start_ms <= event_ms < end_ms."""
        return self.take((self.event_ms >= start_ms) & (self.event_ms < end_ms))


def samples_of(history: History, sensors: tuple[Sensor, ...], prior: Prior, most: int) -> Samples:
    """Run a history through a fresh state and keep about `most` readings, scattered; nothing is flagged yet.

    Every hour of the day gives as many as the others, or all that it has.
    """
    counts = np.bincount(_hours(history.event_ms), minlength=24)
    share = fair_share(counts, most) / np.maximum(counts, 1)
    names: list[str] = []
    event_ms: list[np.ndarray] = []
    rows: list[np.ndarray] = []
    at = 0
    for part, step in zip(history.parts(), steps(history, sensors, prior, Recipe()), strict=True):
        # Stations take turns in a history: an even stride would see some of them only.
        drawn = _scattered(np.arange(at, at + len(part))) < share[_hours(part.event_ms)]
        chosen = np.flatnonzero((step.outcome == ACCEPTED) & drawn)
        at += len(part)
        names += [part.station_ids[row] for row in chosen.tolist()]
        event_ms.append(part.event_ms[chosen])
        rows.append(step.blocks.rows[chosen])
    blocks = Blocks(tuple(sensor.name for sensor in sensors), np.concatenate(rows))
    return Samples(names, np.concatenate(event_ms), np.zeros(len(names), np.int32), blocks)


def fair_share(counts: np.ndarray, most: int) -> int:
    """Return how many each group may keep, so that groups of these sizes keep at most `most` together."""
    left = most
    for place, count in enumerate(np.sort(counts).tolist()):
        if count * (len(counts) - place) > left:
            return left // (len(counts) - place)
        left -= count
    return int(counts.max(initial=0))


def _hours(event_ms: np.ndarray) -> np.ndarray:
    return (event_ms // HOUR_MS) % 24


def _scattered(numbers: np.ndarray) -> np.ndarray:
    """Scatter numbers over [0, 1), so that those below a share are of any station and time. Source: splitmix64."""
    mixed = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    return np.asarray(((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53)
