"""What a history of readings says about a plant's stations, pooled: the parts of a prior."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from core.errors import StationwatchError
from core.sensors import Sensor
from models.kernels.columns import CROSS_BAND, CROSS_LEVEL, INNOVATION, N_WITNESSES, NOISE, PRESENT
from models.kernels.state_kernel import ACCEPTED
from models.kernels.statistics_kernel import ABS_TO_SIGMA, CLUSTERS, COUNT, SPREAD, YOUNG, Recipe
from models.scoring.history import History
from models.scoring.shard_state import ShardState
from models.scoring.station_prior import Prior, neutral_prior
from models.training.tail_limits import witness_tail

_NOISE_SPREAD = 0.3  # of the log of a short mean of |differences|
_RARE_GAPS = 5e-4  # share of steps that say nothing of how long a station may be silent
_OFTEN_MISSING = 0.2
_SHORTEST_STUCK = 8.0
_LONG_RUN, _RUNS_FILL = 10, 0.3
_GAP, _SETTLE, _MOSTLY = 10.0, 100, 0.25  # median steps, readings, share of rows
_TRUSTED = 10_000.0  # readings of a history that is half trusted
# Doors, shifts, heating: what happens to a plant within an hour a history of minutes has not shown.
_UNSEEN = 30.0  # s; measured, docs/decisions/witnesses.md


def typical_cadence(history: History, stations: list[np.ndarray]) -> float:
    """Median over stations of their median step, s."""
    steps = [np.diff(history.event_ms[rows]) for rows in stations]
    medians = [float(np.median(step[step > 0])) for step in steps if (step > 0).any()]
    if not medians:
        raise StationwatchError("no station has two readings at different times; the cadence cannot be learnt")
    return float(np.median(medians)) / 1000.0


def without_scraps(history: History) -> History:
    """Leave out stretches too short for a station to settle in; all of them count where little else is there.

    A stretch lies between two silences of the whole plant. No reading of a scrap is settled (see `settled_rows`): it
    shows what an hour of the day is like, and of how stations behave only where the history was cut. Not for a history
    that nobody cut: there such silences are the plant's own, and belong to what a station may do.
    """
    step = 1000.0 * typical_cadence(history, history.by_station())
    order = np.argsort(history.event_ms, kind="stable")
    cuts = np.flatnonzero(np.diff(history.event_ms[order]) > _GAP * step) + 1
    lasting = np.zeros(len(history), bool)
    for rows in np.split(order, cuts):
        lasting[rows] = history.event_ms[rows[-1:]] - history.event_ms[rows[:1]] >= _SETTLE * step
    return history if lasting.all() or lasting.mean() < _MOSTLY else history.take(lasting)


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


def gap_limit(history: History, stations: list[np.ndarray]) -> float:
    """Return how long a station may be silent, s: three times the longest step but for the rarest ones."""
    steps = [np.diff(history.event_ms[rows]) for rows in stations]
    known = np.concatenate([step[step > 0] for step in steps])
    return 3.0 * float(np.quantile(known, 1.0 - _RARE_GAPS)) / 1000.0 if len(known) else np.inf


def trust(readings: int) -> float:
    """Return how far limits from so many readings are trusted against a station's first episodes, 0…1."""
    return readings / (readings + _TRUSTED)


def missing_limits(history: History, stations: list[np.ndarray]) -> np.ndarray:
    """Return the readings that may lack a value in a row, (n_sensors,); infinite where that is nothing special."""
    limits = np.zeros(history.values.shape[1])
    for place in range(len(limits)):
        missing = np.isnan(history.values[:, place])
        if missing.mean() > _OFTEN_MISSING:
            limits[place] = np.inf
        elif missing.any():
            runs = np.concatenate([_runs(missing[rows]) for rows in stations])
            limits[place] = np.ceil(1.5 * np.quantile(runs[runs > 0], 0.99))
    return limits


def _runs(flags: np.ndarray) -> np.ndarray:
    """Length so far of the run of true values at each place, (n,) int64."""
    places = np.arange(1, len(flags) + 1)
    return places - np.maximum.accumulate(np.where(flags, 0, places))


def first_guess(
    history: History, stations: list[np.ndarray], sensors: tuple[Sensor, ...], cadence: float, budget: float
) -> Prior:
    """A prior with rough spreads, from plain means over the stations, and the tails of a Gaussian."""
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
    known = ~np.isnan(level).all(axis=0)
    size, level, step = (_median_of_known(part) for part in (size, level, step))
    resolution = resolutions(history, stations, sensors)
    floor = np.maximum(np.maximum(0.1 * resolution, 1e-6 * size), 1e-9)
    blank = neutral_prior(tuple(sensor.name for sensor in sensors), cadence, budget)
    spread = np.maximum(np.repeat(level[:, np.newaxis], N_WITNESSES, axis=1), floor[:, np.newaxis])
    spread[:, INNOVATION] = np.maximum(step, floor)
    spread[:, NOISE], spread[:, CROSS_BAND], spread[:, CROSS_LEVEL] = _NOISE_SPREAD, 1.0, 1.0
    return replace(
        blank,
        gap_limit=gap_limit(history, stations),
        trust=trust(len(history)),
        floor=floor,
        resolution=resolution,
        missing_limit=missing_limits(history, stations),
        spread=np.where(known[:, np.newaxis], spread, 0.0),
    )


def _median_of_known(table: np.ndarray) -> np.ndarray:
    """Median over stations, (n_sensors,), of what is known; 0 where nothing is."""
    columns = (column[~np.isnan(column)] for column in table.T)
    return np.array([np.median(column) if len(column) else 0.0 for column in columns])


@dataclass(frozen=True)
class Witnessed:
    """What the punctual readings of a history showed.

    Args:
        codes: (n,) the station of each, as a number.
        settled: (n,) see `settled_rows`.
        run, seen, present: (n, n_sensors) run as in the block, readings that the sensor's statistics had taken, and
            whether there was a plausible value.
        u: (n, n_sensors, n_witnesses) |witness| in spreads.
        spread, covariance: what the stations had learnt by the end, the median over those that took many readings.
    """

    codes: np.ndarray
    settled: np.ndarray
    run: np.ndarray
    seen: np.ndarray
    present: np.ndarray
    u: np.ndarray
    spread: np.ndarray
    covariance: np.ndarray


def witnessed(history: History, sensors: tuple[Sensor, ...], prior: Prior, recipe: Recipe) -> Witnessed:
    """Run the history through a fresh state and keep what a prior follows from."""
    kept: list[np.ndarray] = []
    parts: list[tuple[np.ndarray, ...]] = []
    state = ShardState(sensors, prior, recipe._replace(measure=1.0))
    for part in history.parts():
        step = state.take(part)
        good = (step.outcome == ACCEPTED) & ~step.late
        blocks = step.blocks.take(good)
        kept.append(good)
        weight = blocks.per_sensor("weight")
        present = blocks.per_sensor("quality") == PRESENT
        u = np.abs(blocks.witnesses("ratio"))
        parts.append((blocks.per_sensor("run").copy(), YOUNG * weight / (1.0 - weight), present, u))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    good = np.concatenate(kept)
    settled = settled_rows(history, history.by_station())[good]
    sensor = state.learnt("sensor")
    learnt = (sensor[:, :, SPREAD : SPREAD + N_WITNESSES], state.learnt("covariance"))
    count = sensor[:, :, COUNT].max(axis=1)
    old = count >= 0.5 * count.max()
    return Witnessed(history.codes()[good], settled, *columns, *(np.median(part[old], axis=0) for part in learnt))


def with_learnt(prior: Prior, seen: Witnessed) -> Prior:
    """Return the prior with what the stations have learnt of spreads and covariances."""
    spread = np.where(prior.spread > 0, np.maximum(seen.spread.astype(np.float64), 1e-9), 0.0)
    return replace(prior, spread=spread, covariance=seen.covariance.astype(np.float64))


def with_tails(prior: Prior, seen: Witnessed) -> Prior:
    """Return the prior with the witnesses' tails, from readings at which they had warmed up where there are enough.

    The excess is wider the shorter the time that a station has shown.
    """
    tails = np.empty((*prior.tail_start.shape, 3))
    shown = float(np.median(np.bincount(seen.codes))) * prior.cadence
    unseen = 1.0 + math.sqrt(_UNSEEN / shown)
    for place in range(len(tails)):
        present = seen.present[:, place] & seen.settled
        most = seen.seen[present, place].max(initial=0.0)
        for witness, cluster in enumerate(CLUSTERS):
            old = seen.seen[:, place] >= min(max(YOUNG, 5.0 * cluster), 0.5 * most)
            tails[place, witness] = witness_tail(seen.u[present & old, place, witness], cluster)
    start = np.where(np.isfinite(prior.tail_start), tails[:, :, 0], np.inf)
    return replace(
        prior, tail_start=start, tail_excess=np.maximum(unseen * tails[:, :, 1], 1e-3), tail_shape=tails[:, :, 2]
    )


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
