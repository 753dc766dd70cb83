"""What a history of readings says about a plant's stations, pooled: the parts of a prior."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from models.detection.errors import StationwatchError
from models.detection.kernel import ABS_TO_SIGMA, ACCEPTED, PRESENT, WITNESSES
from models.detection.prior import Prior, neutral_prior
from models.detection.sensors import Sensor
from models.detection.state import Incoming, ShardState, Step
from models.detection.tails import witness_limit

_CHUNK = 50_000
_WARM = (0.7, 0.25, 0.0)  # weights of a station's own statistics from which on its tail counts, first choice first
_FEW = 500
_QUANTISED = 0.29  # standard deviation of rounding, in steps: 1/sqrt(12)
_SHORTEST_STUCK = 8.0
_LONG_RUN, _RUNS_FILL = 10, 0.3
_GAP, _SETTLE, _MOSTLY = 10.0, 100, 0.25  # median steps, readings, share of rows


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

    def by_station(self) -> list[np.ndarray]:
        """Return the rows of each station, in their order."""
        codes = self.codes()
        return np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])

    def codes(self) -> np.ndarray:
        """Return a number for each row's station, in order of first arrival, (n,) int64."""
        places: dict[str, int] = {}
        return np.fromiter((places.setdefault(name, len(places)) for name in self.station_ids), np.int64, len(self))


def steps(history: History, sensors: tuple[Sensor, ...], prior: Prior) -> Iterator[Step]:
    """Run the history through a fresh state, part by part, in bounded memory."""
    state = ShardState(sensors, prior)
    return (state.take(part) for part in history.parts())


def typical_cadence(history: History, stations: list[np.ndarray]) -> float:
    """Median over stations of their median step, s."""
    steps = [np.diff(history.event_ms[rows]) for rows in stations]
    medians = [float(np.median(step[step > 0])) for step in steps if (step > 0).any()]
    if not medians:
        raise StationwatchError("no station has two readings at different times; the cadence cannot be learnt")
    return float(np.median(medians)) / 1000.0


def settled_rows(history: History, stations: list[np.ndarray]) -> np.ndarray:
    """Whether a reading follows no gap of its station within the last 100 readings, (n,) bool.

    A history of stretches spread over a day has many more gaps than a live stream, and what follows one is unlike the
    rest. Where gaps are the rule every reading counts as settled.
    """
    settled = np.ones(len(history), bool)
    for rows in stations:
        step = np.diff(history.event_ms[rows])
        gaps = np.flatnonzero(step > _GAP * np.median(step)) + 1 if len(step) else step
        for gap in gaps:
            settled[rows[gap : gap + _SETTLE]] = False
    return settled if settled.mean() >= _MOSTLY else np.ones(len(history), bool)


def resolutions(history: History, stations: list[np.ndarray], sensors: tuple[Sensor, ...]) -> np.ndarray:
    """Return each sensor's configured resolution, or the smallest step between two of its readings, or 0."""
    found = np.array([sensor.resolution for sensor in sensors], dtype=np.float64)
    for place in np.flatnonzero(found == 0):
        # The state holds float32: a smaller step does not exist for it.
        values = history.values[:, place].astype(np.float32).astype(np.float64)
        steps = np.abs(np.concatenate([np.diff(values[rows]) for rows in stations]))
        found[place] = np.min(steps[steps > 0], initial=np.inf)
    return np.where(np.isfinite(found), found, 0.0)


def first_guess(
    history: History, stations: list[np.ndarray], sensors: tuple[Sensor, ...], cadence: float, resolution: np.ndarray
) -> Prior:
    """A prior without limits, its spreads from plain means over the stations.

    It is needed because a state with no idea of a spread learns next to nothing: it moves by a few spreads a reading.
    """
    n_sensors = len(sensors)
    size, level, step = (np.full((len(stations), n_sensors), np.nan) for _ in range(3))
    for number, rows in enumerate(stations):
        for place in range(n_sensors):
            values = history.values[rows, place]
            values = values[~np.isnan(values)]
            if len(values) > 1:
                middle = np.median(values)
                size[number, place] = abs(middle)
                level[number, place] = ABS_TO_SIGMA * np.abs(values - middle).mean()
                step[number, place] = ABS_TO_SIGMA * np.abs(np.diff(values)).mean()
    size, level, step = (_median_of_known(part) for part in (size, level, step))
    floor = np.maximum(np.maximum(_QUANTISED * resolution, 1e-6 * size), 1e-9)
    spread, step = np.maximum(level, floor), np.maximum(step, floor)
    blank = neutral_prior(tuple(sensor.name for sensor in sensors), cadence)
    return replace(blank, spread=spread, innovation_spread=step, diff_spread=step, floor=floor)


def _median_of_known(table: np.ndarray) -> np.ndarray:
    """Median over stations, (n_sensors,), of what is known; 0 where nothing is."""
    columns = (column[~np.isnan(column)] for column in table.T)
    return np.array([np.median(column) if len(column) else 0.0 for column in columns])


_SPREADS = ("spread", "innovation_spread", "diff_spread")


def learnt_spreads(history: History, sensors: tuple[Sensor, ...], prior: Prior) -> Prior:
    """Return the prior with the spreads that the state has learnt by the end of the history, the median over stations.

    What the block shows is a mixture of the station's own and the prior's; here it is undone.
    """
    codes = history.codes()
    wanted = ("weight", *_SPREADS)
    last = np.zeros((codes.max() + 1, len(wanted), len(sensors)))
    at = 0
    for step in steps(history, sensors, prior):
        good = step.outcome == ACCEPTED
        seen = np.stack([step.blocks.per_sensor(name) for name in wanted], axis=1)
        # Of equal places numpy keeps the last.
        last[codes[at : at + len(good)][good]] = seen[good]
        at += len(good)
    weight = last[:, 0]
    mature = np.where(weight >= _WARM[0], weight, np.nan)
    weight = np.where(np.isnan(mature).all(axis=0), np.where(weight > 0, weight, np.nan), mature)
    pooled: dict[str, Any] = {}
    for number, name in enumerate(_SPREADS, start=1):
        shared = getattr(prior, name)
        own = np.sqrt(np.maximum(last[:, number] ** 2 - (1.0 - weight) * shared**2, 0.0) / weight)
        median = _median_of_known(own)
        pooled[name] = np.maximum(np.where(np.isnan(own).all(axis=0), shared, median), prior.floor)
    return replace(prior, **pooled)


@dataclass(frozen=True)
class Witnessed:
    """What the punctual readings of a history showed.

    Args:
        codes: (n,) the station of each, as a number.
        settled: (n,) see `settled_rows`.
        run, weight, present: (n, n_sensors) as in the block; present says whether there was a plausible value.
        u: (n, n_sensors, n_witnesses) |u| in spreads.
    """

    codes: np.ndarray
    settled: np.ndarray
    run: np.ndarray
    weight: np.ndarray
    present: np.ndarray
    u: np.ndarray


def witnessed(history: History, sensors: tuple[Sensor, ...], prior: Prior) -> Witnessed:
    """Run the history through a fresh state and keep what limits follow from."""
    kept: list[np.ndarray] = []
    parts: list[tuple[np.ndarray, ...]] = []
    for step in steps(history, sensors, prior):
        good = (step.outcome == ACCEPTED) & ~step.late
        blocks = step.blocks.take(good)
        u = np.stack([np.abs(blocks.witness(witness, "u")) for witness in WITNESSES], axis=2)
        kept.append(good)
        present = blocks.per_sensor("quality") == PRESENT
        parts.append((blocks.per_sensor("run").copy(), blocks.per_sensor("weight").copy(), present, u))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    good = np.concatenate(kept)
    return Witnessed(history.codes()[good], settled_rows(history, history.by_station())[good], *columns)


def pooled_limits(seen: Witnessed, rate: float) -> np.ndarray:
    """Return (n_sensors, n_witnesses) limits at the rate, from well warmed-up readings where there are enough.

    A sensor without any value has none: infinite.
    """
    limits = np.full(seen.u.shape[1:], np.inf)
    for place in range(len(limits)):
        present, weight = seen.present[:, place] & seen.settled, seen.weight[:, place]
        choices = [present & (weight >= least) for least in _WARM]
        chosen = next((choice for choice in choices if choice.sum() >= _FEW), choices[-1])
        if chosen.any():
            limits[place] = [witness_limit(values, rate) for values in seen.u[chosen, place].T]
    return limits


def run_limits(seen: Witnessed) -> np.ndarray:
    """Return the readings a value may stay the same, (n_sensors,); infinite where still values are nothing special.

    Nine stations in ten never had a run two thirds as long. Not all ten: a sensor stuck in training would teach its run
    to every station. A run that the history cuts off is not complete, and does not count.
    """
    limits = np.full(seen.run.shape[1], np.inf)
    order = np.argsort(seen.codes, kind="stable")
    for place in range(len(limits)):
        rows = order[seen.present[order, place]]
        station, run = seen.codes[rows], seen.run[rows, place]
        if not len(run):
            continue
        same = np.append(station[1:] == station[:-1], False)
        ends = ~same | np.append(run[1:] <= run[:-1], True)
        if run[ends & (run >= _LONG_RUN)].sum() > _RUNS_FILL * len(run):
            continue
        longest = np.zeros(seen.codes.max() + 1)
        np.maximum.at(longest, station[ends & same], run[ends & same])
        limits[place] = max(_SHORTEST_STUCK, 1.5 * float(np.quantile(longest[np.unique(station)], 0.9)))
    return limits
