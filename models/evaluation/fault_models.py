"""Faults: how a broken sensor bends a series. One definition for the simulator, the gates and the benchmarks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating]

KINDS: Final = ("spike", "dip", "shift", "drift", "stuck", "dropout", "noise_burst", "decorrelation")
HOLDING: Final = frozenset({KINDS.index("stuck"), KINDS.index("decorrelation")})

_WAVES = 4
UNIFORMS: Final = 1 + 2 * _WAVES


@dataclass(frozen=True)
class Fault:
    """The label of an injected fault.

    Args:
        station_id: the station.
        sensor: name of the one sensor that is bent.
        kind: one of `KINDS`.
        start: aware UTC, event time of the first reading that is bent.
        end: aware UTC, event time of the first reading after it (half-open).
        magnitude: size of the departure in the sensor's standard deviations; means nothing to `stuck` and `dropout`.
    """

    station_id: str
    sensor: str
    kind: str
    start: datetime
    end: datetime
    magnitude: float


@dataclass(frozen=True)
class Bend:
    """What a fault, or many, does to readings. Every field has one entry per fault.

    Args:
        kind: (n,) index into `KINDS`.
        size: (n,) magnitude times the sensor's standard deviation, in the sensor's unit.
        length: (n,) whole readings from the first to the last that are bent.
        sign: (n,) -1 or 1, the direction of a shift or a drift.
        periods: (n, waves) periods of the waves of a decorrelation, in readings.
        phases: (n, waves) their phases, radians.
    """

    kind: NDArray[np.int64]
    size: Floats
    length: Floats
    sign: Floats
    periods: Floats
    phases: Floats

    @classmethod
    def draw(cls, kind: ArrayLike, size: ArrayLike, length: ArrayLike, uniforms: Floats) -> Bend:
        """Give faults their character.

        Args:
            kind: (n,) index into `KINDS`.
            size: (n,) magnitude times standard deviation.
            length: (n,) readings, at least 1.
            uniforms: (n, UNIFORMS) independent draws from [0, 1).
        """
        readings = np.atleast_1d(np.asarray(length, dtype=np.float64))
        periods = (0.15 + 0.85 * uniforms[:, 1 : 1 + _WAVES]) * readings[:, None]
        return cls(
            kind=np.atleast_1d(np.asarray(kind, dtype=np.int64)),
            size=np.atleast_1d(np.asarray(size, dtype=np.float64)),
            length=readings,
            sign=np.where(uniforms[:, 0] < 0.5, -1.0, 1.0),
            periods=periods,
            phases=2 * np.pi * uniforms[:, 1 + _WAVES :],
        )

    def take(self, index: NDArray[np.int64]) -> Bend:
        """Return the faults at `index`, which may name one many times."""
        return Bend(
            self.kind[index],
            self.size[index],
            self.length[index],
            self.sign[index],
            self.periods[index],
            self.phases[index],
        )


def bent(values: Floats, position: NDArray[np.int64], held: Floats, normal: Floats, bend: Bend) -> Floats:
    """Bend readings, each by its own fault.

    | kind | the sensor reports, at position p of a fault of length n |
    |---|---|
    | spike, dip | the truth + size, the truth - size |
    | shift | the truth ± size, at once |
    | drift | the truth ± size·(p+1)/n: it creeps, and is back when the fault ends |
    | stuck | the value of the fault's first reading |
    | dropout | nothing (NaN) |
    | noise_burst | the truth + size·N(0, 1) |
    | decorrelation | the value of its first reading + size/3·w(p), whatever the other sensors do |

    The wander w has standard deviation 1 and starts at 0, so that nothing jumps. It is a sum of waves with random
    periods and phases, known at any position without memory. At magnitude 3 its spread is the sensor's own; at any
    magnitude its 3-sigma excursions reach the magnitude.

    Args:
        values: (n,) what the healthy sensor would report; or any shape that broadcasts with the rest.
        position: (n,) readings since the fault's first, 0-based.
        held: (n,) what the healthy sensor reported at the fault's first reading; read for the `HOLDING` kinds only.
        normal: (n,) standard normal draws; read for noise bursts only.
        bend: n faults, or one for all readings.

    Returns:
        (n,) what the broken sensor reports, in its unit. Neither rounded nor clipped.
    """
    waves = np.sin(2 * np.pi * position[:, None] / bend.periods + bend.phases) - np.sin(bend.phases)
    wander = waves.sum(axis=1) / np.sqrt(_WAVES)
    outcomes = {
        "spike": values + bend.size,
        "dip": values - bend.size,
        "shift": values + bend.sign * bend.size,
        "drift": values + bend.sign * bend.size * (position + 1) / bend.length,
        "stuck": held,
        "dropout": np.full(1, np.nan),
        "noise_burst": values + bend.size * normal,
        "decorrelation": held + bend.size / 3 * wander,
    }
    chosen = [bend.kind == KINDS.index(kind) for kind in outcomes]
    return np.select(chosen, list(outcomes.values()), default=np.nan)


def bend_series(
    series: Floats,
    *,
    sensor: int,
    kind: str,
    start: int,
    length: int,
    magnitude: float,
    sigma: float,
    rng: np.random.Generator,
) -> Floats:
    """Bend one sensor of a station's series. A fault that outlasts the series is cut, not shortened.

    Args:
        series: (n, n_sensors) contiguous readings of one station at its cadence.
        sensor: column to bend.
        kind: one of `KINDS`.
        start: row of the first reading that is bent.
        length: readings the fault lasts, at least 1.
        magnitude: size of the departure in `sigma`.
        sigma: standard deviation of the sensor, in its unit.
        rng: source of the fault's character.

    Returns:
        (n, n_sensors) a bent copy.

    Raises:
        ValueError: an unknown kind, a row outside the series, or no length.
    """
    if kind not in KINDS:
        raise ValueError(f"fault kind {kind!r}: expected one of {', '.join(KINDS)}")
    if not 0 <= start < len(series) or length < 1:
        raise ValueError(f"fault of {length} readings from row {start}: the series has {len(series)} rows")
    result = np.array(series, dtype=np.float64)
    bend = Bend.draw([KINDS.index(kind)], [magnitude * sigma], [length], rng.random((1, UNIFORMS)))
    rows = slice(start, start + length)
    truth = series[rows, sensor]
    position = np.arange(len(truth))
    result[rows, sensor] = bent(truth, position, truth[:1], rng.standard_normal(len(truth)), bend)
    return result
