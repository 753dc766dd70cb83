"""Limits from tails: where a score or a witness has to stand so that it is passed as rarely as the budget says."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from models.kernels.alarm_budget import episodes_per_day
from models.kernels.statistics_kernel import TAIL
from models.scoring.station_prior import GAUSSIAN_TAIL

SHRINK = 1000  # readings of a Gaussian that a witness's tail is mixed with, so that fifty rows do not decide alone
_FAR = 8.0  # mean excesses beyond which a value says more about faults in the data than about the tail
_SURE = 1.5
_DAY = 86_400.0


class Tail(NamedTuple):
    """Where a tail starts (98 % quantile), how far values beyond it lie beyond it on average, and its shape.

    The shape is that of a generalised Pareto: below 0 the tail ends, 0 is exponential, above 0 it is heavy.
    """

    start: float
    excess: float
    shape: float

    def at(self, rate: float) -> float:
        """Return the value that is passed in a share `rate` of readings, below `TAIL`."""
        far = math.log(TAIL / rate)
        scale = self.excess * (1.0 - self.shape)
        return self.start + scale * (math.expm1(self.shape * far) / self.shape if self.shape else far)


def rate_of(budget: float, cadence: float, witnesses: float) -> float:
    """Return the share of its readings in which one of `witnesses` may fire, each reading being an episode at worst."""
    return min(0.5 * TAIL, episodes_per_day(budget, cadence) * cadence / _DAY / witnesses)


def tail_of(values: np.ndarray, shapes: tuple[float, float]) -> Tail:
    """Describe a tail, robust against a few faults in the data.

    Args:
        values: (n,) at least one, high is abnormal.
        shapes: least and greatest shape to believe in.

    Source: moments of the excesses (Hosking, Wallis 1987).
    """
    start = float(np.quantile(values, 1.0 - TAIL))
    excess = values[values > start].astype(np.float64) - start
    if not len(excess):
        return Tail(start, 0.0, min(0.0, shapes[1]))
    # An exponential tail has its median excess at ln 2 of the mean.
    excess = np.minimum(excess, _FAR * float(np.median(excess)) / math.log(2.0))
    mean, variance = float(excess.mean()), float(excess.var())
    shape = 0.5 * (1.0 - mean**2 / variance) if variance > 0 else 0.0
    return Tail(start, mean, min(max(shape, shapes[0]), shapes[1]))


def witness_tail(values: np.ndarray, cluster: float) -> Tail:
    """Return the tail of a witness's |f| in spreads, mixed with a Gaussian's as long as little was seen.

    The mean excess is not the likeliest but as large as it may well be: `_SURE` standard errors more, where one
    excursion counts once.

    Args:
        values: (n,) may be none.
        cluster: readings that one excursion lasts.
    """
    if not len(values):
        return Tail(*GAUSSIAN_TAIL)
    n = len(values)
    own = tail_of(values, (-0.1, 0.1))
    own = own._replace(excess=own.excess * (1.0 + _SURE * math.sqrt(cluster / (TAIL * n))))
    return Tail(*((n * mine + SHRINK * usual) / (n + SHRINK) for mine, usual in zip(own, GAUSSIAN_TAIL, strict=True)))


def forest_limit(scores: np.ndarray, rate: float) -> float:
    """Return the forest's score that is passed in a share `rate` of readings.

    Its scores are bounded: an exponential tail would put the limit beyond all that a forest can say.

    Args:
        scores: (n,) anomaly scores in (0, 1], at least one.
        rate: of readings, below `TAIL`.
    """
    return tail_of(scores, (-0.5, 0.0)).at(rate)
