"""The detectors that are compared. Each is one function from a history to a score and a flag per reading."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from core.sensors import Sensor
from models.evaluation.backtest import backtest
from models.scoring.history import History
from models.scoring.isolation_forest import PackedForest
from models.training.fit_prior import typical_cadence

# (history, training rows, sensors, budget, seed) -> (score, flagged), both (n,). Causal: what is said of a reading
# depends on earlier readings only, apart from the training rows.
Judge = Callable[[History, np.ndarray, tuple[Sensor, ...], float, int], tuple[np.ndarray, np.ndarray]]

REFERENCE_TREES, CONTAMINATION = 1000, 0.00125
# EWMA charts weigh a reading by 0.05 to 0.25 (Montgomery); the least gives the fewest false alarms here.
_EWMA_WEIGHT = 0.05
_SIGMAS = 3.0


def stated_budget(budget: float, cadence: float) -> float:
    """Return the false alarm episodes per station and day that a budget promises at a cadence in s.

    One in 1440 readings from a reading a minute downwards; faster stations get more, but by the root only.
    """
    ratio = 60.0 / cadence
    return budget * (ratio if cadence >= 60.0 else math.sqrt(ratio))


def stationwatch(trees: int = REFERENCE_TREES) -> Judge:
    """The product's detector, as its backtest runs it."""

    def judge(
        history: History, training: np.ndarray, sensors: tuple[Sensor, ...], budget: float, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        said = backtest(history, training, sensors, budget=budget, trees=trees, seed=seed)
        return said.score, said.flagged

    return judge


def reference_forest(trees: int = REFERENCE_TREES) -> Judge:
    """The mission's reference: an Isolation Forest on scaled raw values, no context. The budget means nothing to it.

    A missing value is taken for the mean, since the forest knows none: dropouts are not seen.
    """

    def judge(
        history: History, training: np.ndarray, sensors: tuple[Sensor, ...], budget: float, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        from sklearn.ensemble import IsolationForest
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(history.values[training])
        values = np.nan_to_num(scaler.transform(history.values), nan=0.0)
        # With a contamination `fit` would score all training rows tree by tree; this is the same quantile.
        forest = IsolationForest(n_estimators=trees, random_state=seed).fit(values[training])
        packed = PackedForest.from_sklearn(forest, [sensor.name for sensor in sensors])
        score = packed.anomaly_score(values)
        return score, score > np.quantile(score[training], 1.0 - CONTAMINATION)

    return judge


def ewma_three_sigma(
    history: History, training: np.ndarray, sensors: tuple[Sensor, ...], budget: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Three sigma around an exponentially weighted average of each station and sensor; sigma is weighted alike."""
    score = np.zeros(len(history))
    codes = history.codes()
    for column in range(len(sensors)):
        values = pd.Series(history.values[:, column])
        averages = values.groupby(codes).ewm(alpha=_EWMA_WEIGHT)
        mean, spread = (_before(part, codes) for part in (averages.mean(), averages.std()))
        floor = 1e-6 * np.abs(mean) + 1e-9
        distance = np.abs(values.to_numpy() - mean) / (_SIGMAS * np.fmax(spread, floor))
        score = np.fmax(score, distance)
    return score, score > 1.0


def _before(average: pd.Series, codes: np.ndarray) -> np.ndarray:
    """What a station's average was before each reading, back in the order of rows, (n,) float64."""
    in_order = average.droplevel(0).sort_index()
    return in_order.groupby(codes).shift().to_numpy(dtype=np.float64)


def random_control(
    history: History, training: np.ndarray, sensors: tuple[Sensor, ...], budget: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Chance: flags readings at random, as many as the budget promises false alarms."""
    score = np.random.default_rng(seed).random(len(history))
    cadence = typical_cadence(history, history.by_station())
    return score, score > 1.0 - stated_budget(budget, cadence) * cadence / 86_400.0


# Name -> detector. What stands beside stationwatch and the reference forest in every table.
BESIDE: dict[str, Judge] = {
    "EWMA 3 sigma": ewma_three_sigma,
    "random": random_control,
}
