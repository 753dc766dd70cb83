"""The compiled statistics of a station: what is typical, how far off a reading is, and where each witness's limit lies.

`observe` looks at one reading of one station: it writes the reading's block and, unless the reading is late, moves the
station's statistics. What a model says never reaches it. The columns of the block have names in `columns.py`.

Time is counted in the station's own cadence: dc = elapsed / cadence, at most 50. An average with time constant t moves
by 1 - exp(-dc / t), and at least by 1/(n + 1) while it is young. Source of the recipe and of its numbers: measured on
simulated stations and on the NAB series; docs/decisions/witnesses.md.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from models.kernels.alarm_budget import episodes_per_day
from models.kernels.columns import (
    BAND_12,
    BAND_48,
    CROSS_BAND,
    CROSS_LEVEL,
    IMPLAUSIBLE,
    INNOVATION,
    LEVEL,
    LEVEL_48,
    MISSING,
    N_COMMON,
    N_PER_SENSOR,
    N_WITNESSES,
    NOISE,
    PRESENT,
    SENSOR_WIDTH,
)
from models.kernels.jit import compiled

# --- witnesses ------------------------------------------------------------------------------------------------------
# How many readings one excursion of a witness lasts: it is as many times rarer than its readings beyond a limit.
CLUSTERS = (1.0, 6.0, 24.0, 2.0, 6.0, 20.0, 60.0, 6.0, 6.0, 20.0)
_LOG_CLUSTERS = tuple(math.log(cluster) for cluster in CLUSTERS)
_ROOT_CLUSTERS = tuple(math.sqrt(cluster) for cluster in CLUSTERS)
CROSSED = (BAND_12, LEVEL_48)  # what is predicted from the other sensors
N_CROSSED = 2

# --- columns of a station's statistics ------------------------------------------------------------------------------
CADENCE, AGE, LASTING, VISITS = range(4)  # s; days; mean ratio; readings' worth in each bin of the day
N_BINS = 24
STATION_WIDTH = VISITS + N_BINS
# --- columns of a sensor's statistics -------------------------------------------------------------------------------
(
    COUNT, REFERENCE, MEAN_3, MEAN_12, MEAN_48, MEAN_192, LAST, RUN, LONGEST_RUN, MISSING_RUN, QUICK_STEP, SLOW_STEP,
    VALUE_BY_PROFILE, PROFILE_SQUARED, PROFILE,
) = range(15)  # fmt: skip
SPREAD = PROFILE + N_BINS  # from here on one column a witness
TAIL_START = SPREAD + N_WITNESSES
TAIL_EXCESS = TAIL_START + N_WITNESSES
CONTROL = TAIL_EXCESS + N_WITNESSES  # log of what its episodes raise the limit by, beyond a slack
ALARM = CONTROL + N_WITNESSES  # readings since it was last beyond its limit + 256 * readings beyond in this episode
SENSOR_STATE = ALARM + N_WITNESSES
# --- columns of a sensor's prior ------------------------------------------------------------------------------------
FLOOR, RESOLUTION, RUN_LIMIT, MISSING_LIMIT, LOW, HIGH, PRIOR_SPREAD = range(7)
PRIOR_START = PRIOR_SPREAD + N_WITNESSES
PRIOR_EXCESS = PRIOR_START + N_WITNESSES
PRIOR_SHAPE = PRIOR_EXCESS + N_WITNESSES
SENSOR_PRIOR = PRIOR_SHAPE + N_WITNESSES
# --- columns of a sensor's scratch, for one reading -----------------------------------------------------------------
# The witnesses in their own units, the averages with this reading, the value without its daily cycle, the daily
# profile, as much of it as is believed, the short average of steps with this reading; how far each witness's limit
# reaches at a cadence, which stays from reading to reading; room for a matrix and its inverse.
NEXT_MEAN = N_WITNESSES
REST, DAILY, CYCLE, STEP, AT_CADENCE = (NEXT_MEAN + 4 + place for place in range(5))
REACH = AT_CADENCE + 1
MATRIX = REACH + N_WITNESSES

# --- constants of the recipe ----------------------------------------------------------------------------------------
MAX_DC = 50.0
ABS_TO_SIGMA = 1.2533141  # sqrt(pi/2): mean absolute deviation of a Gaussian to its standard deviation
YOUNG = 30.0  # readings after which a station's own statistics count as much as the prior's
TAIL = 0.02  # share of readings that count as the tail
# By how much a 98 % quantile moves per reading beyond it: 1 / density there, for the absolute value of a Gaussian.
_QUANTILE_GAIN = 19.0
_FAR = 8.0  # mean excesses beyond which a value says more about a fault than about the tail
_LEAST_LIMIT = 3.0
_WIDER = 6.0  # after as many clusters of its own a station's limit is still twice as wide
_MEAN_TAUS = (3.0, 12.0, 48.0, 192.0)
_STEP_PLACE, _LONG_STEP_TAU = 1, 6000.0  # differences are averaged as MEAN_12 is
_REFERENCE_TAU, _SPREAD_TAU, _TAIL_TAU = 2880.0, 6000.0, 60_000.0
_PROFILE_DAYS, _FOLLOW_DAYS = 7.0, 2.0
_LASTING_TAU, _LASTING_MOST = 30.0, 3.0
_CROSS_MEMORY, _CROSS_YOUNG, _RIDGE, _CROSS_CLIP = 6000.0, 300.0, 0.05, 20.0
_ALARM_WEIGHT = 0.1
_EPISODE_GAP, _EPISODE_AGAIN = 10, 60  # as in `core/episodes.py`
# h is forgotten within a few days at a reading a minute: one fault does not hide the next day's.
_H_MOST, _H_TAU = 8.0, 3000.0


_episodes_per_day = compiled()(episodes_per_day)


class Recipe(NamedTuple):
    """What the ablation of `benchmarks/detection` leaves out or changes; the stream always runs the defaults.

    profile: 1 uses the daily profile, 0 does not. clusters: 1 uses `CLUSTERS`, 0 counts each as 1.
    shrink: readings (times cluster) that the pooled tail counts for. episode_step, hour_step: log-growth of h with each
    episode and with each further 60 readings in alarm. slack: of that growth, what a limit is forgiven that rests on
    much. guard: 1 lets a sensor in alarm teach all its witnesses little. cross: 1 predicts sensors from each other, 0
    does not. back: how many times faster the averages move while the value is back at its reference. measure: 1 sets
    every limit to one spread and raises no alarm, so that a ratio is a witness in spreads; for fitting a prior.
    """

    profile: float = 1.0
    clusters: float = 1.0
    shrink: float = 1000.0
    episode_step: float = 0.3
    hour_step: float = 0.45
    slack: float = 0.6
    guard: float = 1.0
    cross: float = 1.0
    back: float = 12.0
    measure: float = 0.0


class Pool(NamedTuple):
    """What of a prior concerns no single sensor; fields as in `Prior`. witnesses: how many share the budget."""

    cadence: float
    budget: float
    gap_limit: float
    trust: float
    witnesses: float


class Statistics(NamedTuple):
    """What is learnt of stations, one row each, float32.

    station: (n, STATION_WIDTH). sensor: (n, n_sensors, SENSOR_STATE). covariance: (n, N_CROSSED, n_sensors, n_sensors).
    """

    station: np.ndarray
    sensor: np.ndarray
    covariance: np.ndarray


class PriorArrays(NamedTuple):
    """A `Prior` for the compiled code.

    pool, recipe: see there. sensor: (n_sensors, SENSOR_PRIOR). covariance: (N_CROSSED, n_sensors, n_sensors).
    """

    pool: Pool
    recipe: Recipe
    sensor: np.ndarray
    covariance: np.ndarray


@compiled()
def _expected(prior: np.ndarray) -> bool:
    """Whether the prior knows a sensor's spreads. If not, its first readings have to say them, and are not judged."""
    return prior[PRIOR_SPREAD + LEVEL] > 0.0


@compiled()
def _unit(cell: np.ndarray, prior: np.ndarray, witness: int) -> float:
    """What the witness is divided by: never less than a floor, in its own unit."""
    return max(cell[SPREAD + witness], prior[FLOOR] if witness < NOISE else 1e-3)


@compiled()
def _reach(prior: np.ndarray, recipe: Recipe, witness: int, log_rate: float) -> float:
    """By how many mean excesses a limit lies beyond the start of its tail, at the rate the budget leaves the witness.

    `log_rate` is the log of TAIL over the rate of a witness with cluster length 1.
    """
    far = max(log_rate - (_LOG_CLUSTERS[witness] if recipe.clusters > 0.0 else 0.0), math.log(2.0))
    shape = prior[PRIOR_SHAPE + witness]
    return (1.0 - shape) * math.expm1(shape * far) / shape if shape != 0.0 else far


@compiled()
def _reach_all(priors: np.ndarray, pool: Pool, recipe: Recipe, cadence: float, w: np.ndarray) -> None:
    """Write every witness's reach into the scratch, unless it stands there: stations tend to share one cadence."""
    if w[0, AT_CADENCE] == cadence:
        return
    w[0, AT_CADENCE] = cadence
    log_rate = _log_rate(pool, cadence)
    for sensor in range(len(w)):
        for witness in range(N_WITNESSES):
            w[sensor, REACH + witness] = _reach(priors[sensor], recipe, witness, log_rate)


@compiled()
def _limit(cell: np.ndarray, recipe: Recipe, witness: int, reach: float) -> float:
    """Where the witness is at its own limit, in spreads.

    A generalised Pareto tail over the tracked 98 % quantile, as far as `reach`; wider while little was seen.
    """
    if recipe.measure > 0.0:
        return 1.0
    cluster = CLUSTERS[witness] if recipe.clusters > 0.0 else 1.0
    limit = max(_LEAST_LIMIT, cell[TAIL_START + witness] + cell[TAIL_EXCESS + witness] * reach)
    n = cell[COUNT]
    limit *= 1.0 + math.sqrt(cluster / (n + 1.0))
    return limit * (1.0 + (_WIDER * cluster + (15.0 if n < YOUNG else 0.0)) / (n + 1.0))


@compiled()
def _raised(doubt: float) -> float:
    """By what h the controller raises a limit, from the log of it beyond the slack.

    An episode is a fault or says that the limit is too low. The more the limits rest on, the more it takes to doubt
    them: with much history an episode or two are faults, with little every one of them raises the limit.
    """
    return math.exp(min(doubt, math.log(_H_MOST))) if doubt > 0.0 else 1.0


@compiled()
def _log_rate(pool: Pool, cadence: float) -> float:
    """Log of TAIL over the share of readings in which a witness of cluster length 1 may be beyond its limit."""
    return math.log(TAIL * pool.witnesses * 86_400.0 / (_episodes_per_day(pool.budget, cadence) * cadence))


@compiled()
def _daily(cell: np.ndarray, before: int, share: float) -> float:
    """The daily profile between two bins, sensor units."""
    return (1.0 - share) * cell[PROFILE + before] + share * cell[PROFILE + (before + 1) % N_BINS]


@compiled()
def _cycle(cell: np.ndarray, recipe: Recipe, daily: float, age: float) -> float:
    """As much of the daily profile's value as is believed, in sensor units."""
    # No cycle is believed after less than a day; over the second day it comes in.
    ramp = recipe.profile * min(1.0, max(0.0, age - 1.0))
    # Where the values do not follow the profile there is no cycle.
    followed = cell[VALUE_BY_PROFILE] / cell[PROFILE_SQUARED] if cell[PROFILE_SQUARED] > 0.0 else 0.0
    return ramp * min(1.0, max(0.0, followed)) * daily


@compiled()
def band(
    station: np.ndarray, cell: np.ndarray, prior: np.ndarray, pool: Pool, recipe: Recipe, at_ms: int
) -> tuple[float, float, float]:
    """Return lower, typical and upper of a sensor at a time of day, sensor units; NaN while nothing is known."""
    if cell[COUNT] == 0.0:
        return math.nan, math.nan, math.nan
    place = (at_ms / 3_600_000.0 - 0.5) % N_BINS
    daily = _daily(cell, int(place) % N_BINS, place - math.floor(place))
    typical = cell[REFERENCE] + _cycle(cell, recipe, daily, station[AGE])
    cadence = station[CADENCE] if station[CADENCE] > 0.0 else pool.cadence
    reach = _reach(prior, recipe, LEVEL, _log_rate(pool, cadence))
    half = _unit(cell, prior, LEVEL) * _limit(cell, recipe, LEVEL, reach)
    return typical - half, typical, typical + half


@compiled()
def forget(s: Statistics, station: int) -> None:
    """Make the statistics of a station new."""
    s.station[station, :] = 0.0
    s.sensor[station, :, :] = 0.0


@compiled()
def _begin(cell: np.ndarray, prior: np.ndarray, rest: float, value: float) -> None:
    """Start a sensor at its first value, from the prior."""
    for mean in range(REFERENCE, MEAN_192 + 1):
        cell[mean] = rest
    cell[LAST] = value
    cell[QUICK_STEP] = cell[SLOW_STEP] = max(prior[FLOOR], prior[PRIOR_SPREAD + INNOVATION])
    for witness in range(N_WITNESSES):
        cell[SPREAD + witness] = prior[PRIOR_SPREAD + witness]
        cell[TAIL_START + witness] = prior[PRIOR_START + witness]
        cell[TAIL_EXCESS + witness] = prior[PRIOR_EXCESS + witness]
        cell[CONTROL + witness] = 0.0
        cell[ALARM + witness] = 255.0


@compiled()
def _begin_covariance(covariance: np.ndarray, prior: np.ndarray, sensor: int) -> None:
    for crossed in range(N_CROSSED):
        for other in range(covariance.shape[1]):
            covariance[crossed, sensor, other] = prior[crossed, sensor, other]
            covariance[crossed, other, sensor] = prior[crossed, other, sensor]


@compiled()
def _step_average(cell: np.ndarray, prior: np.ndarray, value: float, dc: float, moved: float) -> float:
    """Return the short average of |differences| with this reading."""
    step = min(abs(value - cell[LAST]), _FAR * max(cell[SLOW_STEP], prior[FLOOR]))
    moved = max(moved, 1.0 / (cell[COUNT] + 1.0)) if dc > 0.0 else 0.0
    return cell[QUICK_STEP] + moved * (step - cell[QUICK_STEP])


@compiled()
def _average(
    cell: np.ndarray, prior: np.ndarray, back: float, value: float, dc: float, pace: tuple[float, ...], w: np.ndarray
) -> None:
    """Compute the sensor's averages with this reading, and the witnesses that follow from them, into the scratch.

    `pace` is how far each average moves in `dc` when nothing hurries it.
    """
    n, reference, rest = cell[COUNT], cell[REFERENCE], w[REST]
    level_spread = _unit(cell, prior, LEVEL)
    # A spike is not carried on by the slow averages: they see it cut.
    cut = reference + max(-6.0 * level_spread, min(6.0 * level_spread, rest - reference))
    returned = abs(rest - reference) < 2.0 * level_spread
    far = 2.0
    for place in range(4):
        old = cell[MEAN_3 + place]
        moved = 0.0
        if dc > 0.0:
            # Back at its reference after an excursion: catch up, so that the aftermath is short.
            hurried = returned and abs(old - reference) > far * level_spread
            moved = max(1.0 - math.exp(-dc * back / _MEAN_TAUS[place]) if hurried else pace[place], 1.0 / (n + 1.0))
        w[NEXT_MEAN + place] = old + moved * ((rest if place == 0 else cut) - old)
        far *= 0.8
    w[INNOVATION] = rest - cell[MEAN_3]
    w[BAND_12], w[BAND_48] = w[NEXT_MEAN] - w[NEXT_MEAN + 2], w[NEXT_MEAN + 1] - w[NEXT_MEAN + 3]
    w[LEVEL] = rest - reference
    for place in range(1, 4):
        w[LEVEL + place] = w[NEXT_MEAN + place] - reference
    least = max(prior[FLOOR], 1e-12)
    w[STEP] = _step_average(cell, prior, value, dc, pace[_STEP_PLACE])
    w[NOISE] = math.log((w[STEP] + least) / (cell[SLOW_STEP] + least))


@compiled()
def _cross(cells: np.ndarray, prior: np.ndarray, covariances: np.ndarray, w: np.ndarray) -> None:
    """Predict each sensor's band and level from the others'; a missing sensor predicts nothing.

    The residuals of all linear regressions at once: e_j = sum_k P_jk z_k / P_jj, P the inverse of the correlations.
    """
    n = len(w)
    for crossed in range(N_CROSSED):
        of = BAND_12 if crossed == 0 else LEVEL_48
        to = CROSS_BAND if crossed == 0 else CROSS_LEVEL
        covariance = covariances[crossed]
        for i in range(n):
            w[i, MATRIX + i], w[i, MATRIX + n + i] = 1.0 + _RIDGE, 1.0
            for j in range(i):
                scale = covariance[i, i] * covariance[j, j]
                known = scale > 0.0 and not math.isnan(w[i, of]) and not math.isnan(w[j, of])
                w[i, MATRIX + j] = w[j, MATRIX + i] = covariance[i, j] / math.sqrt(scale) if known else 0.0
                w[i, MATRIX + n + j] = w[j, MATRIX + n + i] = 0.0
        _invert(w[:, MATRIX : MATRIX + 2 * n])
        for i in range(n):
            residual = 0.0
            for k in range(n):
                if not math.isnan(w[k, of]):
                    z = w[k, of] / _unit(cells[k], prior[k], of)
                    residual += w[i, MATRIX + n + k] * max(-_CROSS_CLIP, min(_CROSS_CLIP, z))
            w[i, to] = math.nan if math.isnan(w[i, of]) else residual / w[i, MATRIX + n + i]


@compiled()
def _invert(matrix: np.ndarray) -> None:
    """Invert the left half of (n, 2n) into the right half by Gauss-Jordan; it is positive definite by its ridge."""
    n = matrix.shape[0]
    for i in range(n):
        pivot = matrix[i, i]
        for j in range(2 * n):
            matrix[i, j] /= pivot
        for k in range(n):
            factor = matrix[k, i]
            if k != i and factor != 0.0:
                for j in range(2 * n):
                    matrix[k, j] -= factor * matrix[i, j]


@compiled()
def _describe(
    cell: np.ndarray,
    prior: np.ndarray,
    pool: Pool,
    recipe: Recipe,
    value: float,
    w: np.ndarray,
    out: np.ndarray,
) -> float:
    """Write the sensor's part of the block; return the largest |ratio| of its witnesses."""
    missing = math.isnan(value)
    n = cell[COUNT]
    begun = n > 0.0 or not missing
    unit = _unit(cell, prior, LEVEL) if begun else prior[PRIOR_SPREAD + LEVEL]
    half = unit * _limit(cell, recipe, LEVEL, w[REACH + LEVEL]) if begun else math.nan
    typical = cell[REFERENCE] + w[CYCLE] if begun else math.nan
    out[0] = value
    out[1] = MISSING if missing else PRESENT
    if not missing and not (prior[LOW] <= value <= prior[HIGH]):
        out[1] = IMPLAUSIBLE
    out[2] = n / (n + YOUNG)
    out[3], out[4], out[5], out[6] = typical, unit, typical - half, typical + half
    # A missing value says nothing: only its rule counts it.
    out[7] = 0.0 if missing else (cell[RUN] + 1.0 if n > 0.0 and value == cell[LAST] else 1.0)
    out[8] = max(prior[RUN_LIMIT], 1.5 * cell[LONGEST_RUN])
    out[9] = cell[MISSING_RUN] + 1.0 if missing else 0.0
    out[10] = prior[MISSING_LIMIT]
    judged = not missing and (n >= YOUNG or _expected(prior))
    slack = recipe.slack * pool.trust
    worst = 0.0
    for witness in range(N_WITNESSES):
        ratio = 0.0
        if judged and prior[PRIOR_START + witness] < math.inf:
            unit = _unit(cell, prior, witness)
            limit = _limit(cell, recipe, witness, w[REACH + witness])
            # One step of the resolution is no anomaly, however still a sensor has been.
            if witness < NOISE and recipe.measure == 0.0:
                limit = max(limit, 1.5 * prior[RESOLUTION] / unit)
            elif witness >= CROSS_BAND and recipe.measure == 0.0:
                of = BAND_12 if witness == CROSS_BAND else LEVEL_48
                limit = max(limit, 1.5 * prior[RESOLUTION] / (_unit(cell, prior, of) * unit))
            ratio = w[witness] / (unit * limit)
        out[N_PER_SENSOR + 2 * witness] = ratio
        out[N_PER_SENSOR + 2 * witness + 1] = _raised(cell[CONTROL + witness] - slack) if begun else 1.0
        worst = max(worst, abs(ratio))
    return worst


@compiled()
def _learn(
    cell: np.ndarray,
    prior: np.ndarray,
    pool: Pool,
    recipe: Recipe,
    value: float,
    dc: float,
    w: np.ndarray,
    out: np.ndarray,
) -> None:
    """Move a sensor's statistics by a reading that is not late."""
    if math.isnan(value):
        cell[MISSING_RUN] += 1.0
        return
    cell[MISSING_RUN] = 0.0
    n = cell[COUNT]
    level_spread = _unit(cell, prior, LEVEL)
    _learn_witnesses(cell, prior, recipe, w, out, _control(cell, pool, recipe, out))
    off = w[REST] - cell[REFERENCE]
    if n > YOUNG:
        moved = max(min(dc, 1.0) / _REFERENCE_TAU, 1.0 / (n + 1.0))
        moved *= max(-2.0 * level_spread, min(2.0 * level_spread, off))
    else:
        level_spread = _unit(cell, prior, LEVEL)
        moved = max(-6.0 * level_spread, min(6.0 * level_spread, off)) / (n + 1.0)
    cell[REFERENCE] += moved
    for place in range(4):
        cell[MEAN_3 + place] = w[NEXT_MEAN + place]
    cell[QUICK_STEP] = w[STEP]
    step, rate = abs(value - cell[LAST]), 1.0 / (n + 1.0)
    if n >= YOUNG or _expected(prior):
        step = min(step, 5.0 * max(cell[SLOW_STEP], prior[FLOOR]))
        rate = max(min(dc, 1.0) / _LONG_STEP_TAU, 1.0 / (n + YOUNG))
    cell[SLOW_STEP] += rate * (step - cell[SLOW_STEP])
    if n > 0.0 and value == cell[LAST]:
        cell[RUN] += 1.0
    else:
        # A run beyond its limit is a stuck sensor, and teaches no more than the limit.
        cell[LONGEST_RUN] = max(cell[LONGEST_RUN], min(cell[RUN], out[8]))
        cell[RUN] = 1.0
    cell[LAST] = value
    cell[COUNT] = min(n + 1.0, 1e6)


@compiled()
def _control(cell: np.ndarray, pool: Pool, recipe: Recipe, out: np.ndarray) -> bool:
    """Move the controllers of a sensor's witnesses; return whether one of them is beyond its limit."""
    # What rests on little is doubted sooner.
    more, most = 2.0 - pool.trust, math.log(_H_MOST) + recipe.slack * pool.trust
    alarmed = False
    for witness in range(N_WITNESSES):
        packed = int(cell[ALARM + witness])
        within, quiet = packed >> 8, packed & 255
        ratio, h = out[N_PER_SENSOR + 2 * witness], out[N_PER_SENSOR + 2 * witness + 1]
        if abs(ratio) > h and recipe.measure == 0.0:
            alarmed = True
            if quiet > _EPISODE_GAP:
                cell[CONTROL + witness] += recipe.episode_step * more
                within = 0
            else:
                within += 1
                if within >= _EPISODE_AGAIN:
                    cell[CONTROL + witness] += recipe.hour_step * more
                    within = 0
            quiet = 0
        else:
            quiet = min(255, quiet + 1)
        cell[ALARM + witness] = quiet + 256 * within
        if cell[CONTROL + witness] > 0.0:
            cell[CONTROL + witness] = min(most, cell[CONTROL + witness]) * (1.0 - 1.0 / _H_TAU)
    return alarmed


@compiled()
def _learn_witnesses(
    cell: np.ndarray, prior: np.ndarray, recipe: Recipe, w: np.ndarray, out: np.ndarray, alarmed: bool
) -> None:
    """Move the tails and spreads of a sensor's witnesses.

    A fault says little of how wide limits have to be. The reading that begins an episode counts whole in the tail:
    limits that are too low still learn.
    """
    n, expected = cell[COUNT], _expected(prior)
    for witness in range(N_WITNESSES):
        if prior[PRIOR_START + witness] == math.inf:
            continue
        packed = int(cell[ALARM + witness])
        beyond = packed & 255 == 0 and recipe.measure == 0.0
        weight = _ALARM_WEIGHT if beyond or (alarmed and recipe.guard > 0.0) else 1.0
        cluster = CLUSTERS[witness] if recipe.clusters > 0.0 else 1.0
        size, unit = abs(w[witness]), _unit(cell, prior, witness)
        held = recipe.shrink * cluster
        rate = (1.0 if beyond and packed == 0 else weight) / min(n + held, max(_TAIL_TAU, held))
        u, start = size / unit, cell[TAIL_START + witness]
        if u > start:
            excess = min(u - start, _FAR * prior[PRIOR_EXCESS + witness])
            cell[TAIL_EXCESS + witness] += min(1.0, rate / TAIL) * (excess - cell[TAIL_EXCESS + witness])
        cell[TAIL_START + witness] = start + _QUANTILE_GAIN * rate * ((1.0 if u > start else 0.0) - TAIL)
        root = _ROOT_CLUSTERS[witness] if recipe.clusters > 0.0 else 1.0
        if n < YOUNG and not expected:
            rate = 1.0 / (n + 1.0)
        else:
            rate = 1.0 / min(n + YOUNG * root + 1.0, _SPREAD_TAU * root) * weight
            size = min(size, 5.0 * unit)
        cell[SPREAD + witness] += rate * (ABS_TO_SIGMA * size - cell[SPREAD + witness])


@compiled()
def _learn_cross(cells: np.ndarray, prior: np.ndarray, covariances: np.ndarray, w: np.ndarray) -> None:
    """Move the covariances of the sensors' normalised bands and levels; what is far out counts less."""
    n = len(w)
    for crossed in range(N_CROSSED):
        of = BAND_12 if crossed == 0 else LEVEL_48
        far = 0.0
        for i in range(n):
            w[i, MATRIX] = w[i, of] / _unit(cells[i], prior[i], of)
            if not math.isnan(w[i, MATRIX]):
                far = max(far, abs(w[i, MATRIX]))
        weight = (5.0 / far) ** 2 if far > 5.0 else 1.0
        for i in range(n):
            for j in range(n):
                product = w[i, MATRIX] * w[j, MATRIX]
                if not math.isnan(product):
                    seen = min(cells[i, COUNT], cells[j, COUNT])
                    rate = weight * max(1.0 / (seen + _CROSS_YOUNG), 1.0 / _CROSS_MEMORY)
                    covariances[crossed, i, j] += rate * (product - covariances[crossed, i, j])


@compiled()
def _learn_profile(
    station: np.ndarray,
    cells: np.ndarray,
    prior: np.ndarray,
    values: np.ndarray,
    days: float,
    dc: float,
    before: int,
    share: float,
    w: np.ndarray,
) -> None:
    """Move the two bins of the daily profile around this hour, and how far the values follow it.

    `days` is how long the reading counts for, in days.
    """
    most = _PROFILE_DAYS / N_BINS * dc / days if days > 0.0 else 1.0
    for side in range(2):
        place = (before + side) % N_BINS
        weight = share if side else 1.0 - share
        if dc > 0.0:
            station[VISITS + place] = min(station[VISITS + place] + weight * dc, most)
        rate = min(1.0, weight * dc / max(station[VISITS + place], 1.0))
        for sensor in range(len(values)):
            if not math.isnan(values[sensor]):
                cell = cells[sensor]
                error = values[sensor] - cell[REFERENCE] - w[sensor, DAILY]
                if station[AGE] > 1.0:
                    spread = _unit(cell, prior[sensor], LEVEL)
                    error = max(-3.0 * spread, min(3.0 * spread, error))
                cell[PROFILE + place] += rate * error
    gain = min(1.0, days / _FOLLOW_DAYS)
    for sensor in range(len(values)):
        if not math.isnan(values[sensor]):
            cell, daily = cells[sensor], w[sensor, DAILY]
            spread = _unit(cell, prior[sensor], LEVEL)
            off = max(-6.0 * spread, min(6.0 * spread, values[sensor] - cell[REFERENCE]))
            cell[VALUE_BY_PROFILE] += gain * (off * daily - cell[VALUE_BY_PROFILE])
            cell[PROFILE_SQUARED] += gain * (daily * daily - cell[PROFILE_SQUARED])


@compiled()
def observe(
    station: np.ndarray,
    cells: np.ndarray,
    covariances: np.ndarray,
    prior: PriorArrays,
    values: np.ndarray,
    event_ms: int,
    elapsed: float,
    late: bool,
    w: np.ndarray,
    row: np.ndarray,
) -> None:
    """Write what is known about a reading into its block, and learn from it unless it is late.

    Args:
        station: a station's row of `Statistics.station`.
        cells: its row of `Statistics.sensor`.
        covariances: its row of `Statistics.covariance`.
        prior: what is expected of a station that has shown little.
        values: (n_sensors,) float32, NaN where missing.
        event_ms: event time, ms since the epoch; gives the hour of the day.
        elapsed: s by which the station's clock moved.
        late: whether it may move nothing.
        w: (n_sensors, MATRIX + 2 n_sensors) scratch.
        row: block to write; its columns `ordinal`, `late` and `elapsed` stand there already.
    """
    pool, recipe, priors = prior.pool, prior.recipe, prior.sensor
    n_sensors = len(values)
    cadence = station[CADENCE] if station[CADENCE] > 0.0 else pool.cadence
    dc = 0.0 if late else min(elapsed / cadence, MAX_DC)
    age = station[AGE] + dc * cadence / 86_400.0
    place = (event_ms / 3_600_000.0 - 0.5) % N_BINS
    before, share = int(place) % N_BINS, place - math.floor(place)
    _reach_all(priors, pool, recipe, cadence, w)
    pace = (
        1.0 - math.exp(-dc / _MEAN_TAUS[0]), 1.0 - math.exp(-dc / _MEAN_TAUS[1]),
        1.0 - math.exp(-dc / _MEAN_TAUS[2]), 1.0 - math.exp(-dc / _MEAN_TAUS[3]),
    )  # fmt: skip
    for sensor in range(n_sensors):
        cell, scratch = cells[sensor], w[sensor]
        scratch[DAILY] = _daily(cell, before, share)
        scratch[CYCLE] = _cycle(cell, recipe, scratch[DAILY], age)
        if math.isnan(values[sensor]):
            scratch[:N_WITNESSES] = math.nan
            continue
        scratch[REST] = values[sensor] - scratch[CYCLE]
        if cell[COUNT] == 0.0:
            _begin(cell, priors[sensor], scratch[REST], values[sensor])
            _begin_covariance(covariances, prior.covariance, sensor)
        _average(cell, priors[sensor], recipe.back, values[sensor], dc, pace, scratch)
    crossed = n_sensors > 1 and recipe.cross > 0.0
    if crossed:
        _cross(cells, priors, covariances, w)
    else:
        w[:, CROSS_BAND : CROSS_LEVEL + 1] = 0.0
    worst = 0.0
    for sensor in range(n_sensors):
        out = row[N_COMMON + sensor * SENSOR_WIDTH : N_COMMON + (sensor + 1) * SENSOR_WIDTH]
        found = _describe(cells[sensor], priors[sensor], pool, recipe, values[sensor], w[sensor], out)
        worst = max(worst, found)
    lasting = station[LASTING]
    lasting += (1.0 - math.exp(-dc / _LASTING_TAU)) * (min(worst, _LASTING_MOST) - lasting)
    row[3], row[4] = max(10.0 * cadence, pool.gap_limit), lasting
    if late:
        return
    station[AGE], station[LASTING] = min(age, 1000.0), lasting
    _learn_profile(station, cells, priors, values, dc * cadence / 86_400.0, dc, before, share, w)
    if crossed:
        _learn_cross(cells, priors, covariances, w)
    for sensor in range(n_sensors):
        out = row[N_COMMON + sensor * SENSOR_WIDTH : N_COMMON + (sensor + 1) * SENSOR_WIDTH]
        _learn(cells[sensor], priors[sensor], pool, recipe, values[sensor], dc, w[sensor], out)
    if elapsed > 0.0:
        # A gap says nothing about the cadence.
        known, rate = station[CADENCE], max(0.01, 1.0 / row[0])
        station[CADENCE] = known + rate * (min(elapsed, 3.0 * cadence) - known) if known > 0.0 else elapsed
