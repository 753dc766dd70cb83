"""Faults that are planned: packed arrays, one entry per fault."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iot_simulator.counter_rng import Floats
from models.evaluation.fault_models import UNIFORMS, Bend


@dataclass(frozen=True)
class Planned:
    """Faults of a slice of stations.

    Args:
        station: (n,) index within the slice.
        sensor: (n,) column.
        start: (n,) tick of the first reading that is bent.
        magnitude: (n,) in the sensor's sigma.
        bend: what each does.
    """

    station: NDArray[np.int64]
    sensor: NDArray[np.int64]
    start: NDArray[np.int64]
    magnitude: Floats
    bend: Bend

    @property
    def end(self) -> NDArray[np.int64]:
        """(n,) tick of the first reading after each fault."""
        return self.start + self.bend.length.astype(np.int64)

    def __len__(self) -> int:
        return len(self.start)

    def take(self, index: NDArray[np.int64]) -> Planned:
        """Return the faults at `index`."""
        bend = self.bend.take(index)
        return Planned(self.station[index], self.sensor[index], self.start[index], self.magnitude[index], bend)

    def within(self, first_tick: int, end_tick: int) -> Planned:
        """Return the faults that bend a tick of [first_tick, end_tick)."""
        return self.take(np.flatnonzero((self.start < end_tick) & (self.end > first_tick)))


def no_faults() -> Planned:
    """Return a plan without faults."""
    nothing = np.empty(0, dtype=np.int64)
    return Planned(
        nothing, nothing, nothing, np.empty(0), Bend.draw(nothing, nothing, nothing, np.empty((0, UNIFORMS)))
    )


def joined(plans: list[Planned]) -> Planned:
    """Return the faults of all plans; where two bend the same value, the later in the list wins."""
    if len(plans) == 1:
        return plans[0]
    bends = [plan.bend for plan in plans]
    fields = ("kind", "size", "length", "sign", "periods", "phases")
    bend = Bend(*(np.concatenate([getattr(bend, field) for bend in bends]) for field in fields))
    columns = ("station", "sensor", "start", "magnitude")
    joint = {column: np.concatenate([getattr(plan, column) for plan in plans]) for column in columns}
    return Planned(**joint, bend=bend)
