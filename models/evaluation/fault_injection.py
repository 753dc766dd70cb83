"""A copy of a plant's own recent readings with faults bent into it: what a challenger is examined on. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from models.evaluation.evaluation import MARGIN, Labels
from models.evaluation.fault_models import KINDS, bend_series
from models.scoring.history import History

LENGTHS = {
    "spike": 2, "dip": 2, "shift": 40, "drift": 120, "stuck": 60, "dropout": 20, "noise_burst": 40,
    "decorrelation": 120,
}  # fmt: skip
"""Readings each kind lasts: what its own witnesses need, and short enough for an hour of a fast station."""

MAGNITUDES = (3.0, 4.0, 6.0, 10.0)
LEAST_READINGS = 200
"""Of a station, below which there is no room for a fault behind its warming up."""

_WARM = 1 / 3
_PAUSE = (MARGIN, 3 * MARGIN)


@dataclass(frozen=True)
class Injected:
    """Readings with faults.

    Args:
        history: the readings.
        labels: the faults; stations are `history.codes()`.
        judged: (n,) bool, rows behind their station's warming up.
    """

    history: History
    labels: Labels
    judged: np.ndarray


def inject(history: History, rng: np.random.Generator) -> Injected:
    """Bend faults of all kinds into a copy of a history, one sensor each, the stations' own spread their measure.

    The first third of each station stays as it is: there its statistics settle.

    Args:
        history: readings in arrival order.
        rng: source of places, sensors and characters.
    """
    values, judged = np.array(history.values), np.zeros(len(history), bool)
    found: list[tuple[int, str, float, int, int]] = []
    deck = _deck(rng)
    for code, rows in enumerate(history.by_station()):
        at = int(_WARM * len(rows))
        judged[rows[at:]] = True
        if len(rows) < LEAST_READINGS:
            continue
        spread = _spread(history.values[rows])
        while True:
            kind, size = next(deck)
            at += int(rng.integers(*_PAUSE))
            if at + LENGTHS[kind] >= len(rows):
                break
            place = rows[at : at + LENGTHS[kind]]
            sensor = int(rng.choice(np.flatnonzero(np.isfinite(spread))))
            values[place] = bend_series(
                values[place], sensor=sensor, kind=kind, start=0, length=len(place), magnitude=size,
                sigma=float(spread[sensor]), rng=rng,
            )  # fmt: skip
            found.append((code, kind, size, place[0], place[-1]))
            at += LENGTHS[kind]
    return Injected(replace(history, values=values), _labels(history, found), judged)


def _deck(rng: np.random.Generator) -> Iterator[tuple[str, float]]:
    """Kinds and sizes, each equally often, shuffled anew each time through."""
    cards = [(kind, size) for kind in KINDS for size in MAGNITUDES]
    while True:
        rng.shuffle(cards)
        yield from cards


def _spread(values: np.ndarray) -> np.ndarray:
    """Robust standard deviation of each sensor, (n_sensors,); NaN for one that is silent or never moves."""
    silent = np.isnan(values).all(axis=0)
    known = np.where(silent, 0.0, values)
    spread = 1.4826 * np.nanmedian(np.abs(known - np.nanmedian(known, axis=0)), axis=0)
    usable = np.where(silent | (spread <= 0.0), np.nan, spread)
    return usable if np.isfinite(usable).any() else np.ones_like(usable)


def _labels(history: History, found: list[tuple[int, str, float, int, int]]) -> Labels:
    codes, kinds, sizes, first, last = zip(*found, strict=True) if found else ((), (), (), (), ())
    begin, end = np.array(first, np.int64), np.array(last, np.int64)
    return Labels(
        np.array(codes, np.int64), list(kinds), np.array(sizes, np.float64), history.event_ms[begin],
        history.event_ms[end] + 1,
    )  # fmt: skip
