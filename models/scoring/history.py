"""Readings of many stations to learn from, and the state step over them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from core.sensors import Sensor
from models.kernels.statistics_kernel import Recipe
from models.scoring.shard_state import Incoming, ShardState, Step
from models.scoring.station_prior import Prior

_CHUNK = 50_000


@dataclass(frozen=True)
class History(Incoming):
    """Readings of many stations to learn from, in arrival order; fields as in `Incoming`."""

    def __len__(self) -> int:
        """Readings."""
        return len(self.event_ms)

    def parts(self, size: int = _CHUNK) -> Iterator[History]:
        """Cut it into parts of at most `size` readings; the state does not notice where."""
        for start in range(0, len(self), size):
            cut = slice(start, start + size)
            arrays = (self.event_ms[cut], self.record_ms[cut], self.seq[cut], self.values[cut])
            yield History(self.station_ids[cut], *arrays)

    def take(self, chosen: np.ndarray) -> History:
        """Return the chosen rows, (n,) bool."""
        names = [name for name, taken in zip(self.station_ids, chosen.tolist(), strict=True) if taken]
        return History(names, self.event_ms[chosen], self.record_ms[chosen], self.seq[chosen], self.values[chosen])

    def by_station(self) -> list[np.ndarray]:
        """Return the rows of each station, in their order."""
        codes = self.codes()
        return np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])

    def codes(self) -> np.ndarray:
        """Return a number for each row's station, in order of first arrival, (n,) int64."""
        places: dict[str, int] = {}
        return np.fromiter((places.setdefault(name, len(places)) for name in self.station_ids), np.int64, len(self))


def steps(history: History, sensors: tuple[Sensor, ...], prior: Prior, recipe: Recipe) -> Iterator[Step]:
    """Run the history through a fresh state, part by part, in bounded memory."""
    state = ShardState(sensors, prior, recipe)
    return (state.take(part) for part in history.parts())
