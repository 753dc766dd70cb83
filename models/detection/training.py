"""Fitting: from a history of readings to the prior of a stream, and to a detector that judges by it.

Pure. The history runs through the same state step as the live stream, so what is fitted is what will be seen.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from models.detection.block import Blocks
from models.detection.detector import WARM_WEIGHT, Spec
from models.detection.errors import StationwatchError
from models.detection.features import Reference, feature_names, features
from models.detection.forest import PackedForest
from models.detection.kernel import ABS_TO_SIGMA, ACCEPTED, PRESENT, WITNESSES
from models.detection.pooling import (
    History,
    first_guess,
    learnt_spreads,
    pooled_limits,
    resolutions,
    run_limits,
    settled_rows,
    steps,
    typical_cadence,
    witnessed,
)
from models.detection.prior import Prior
from models.detection.sensors import Sensor
from models.detection.tails import forest_limit, rate_of

if TYPE_CHECKING:
    from sklearn.ensemble import IsolationForest

LEAST_READINGS = 30  # fewer say nothing about a tail
FIT_ROWS = 65_536  # 1000 trees draw 256,000 rows; scikit-learn looks at all it is given for each tree
THRESHOLD_ROWS = 200_000
SAMPLES_PER_TREE = 256
# A score the forest can reach with the clearest of faults. A threshold above it would switch the forest off.
_HIGHEST_THRESHOLD = 0.8


def fit_prior(history: History, sensors: tuple[Sensor, ...], budget: float) -> Prior:
    """Learn what to expect of a station of this plant before it has shown anything itself.

    Two passes: the first learns spreads, starting from a rough guess, the second the tails of the witnesses under them.

    Args:
        history: readings of stations of one plant, at their live cadence.
        sensors: the catalogue. One without any value in the history gets no limits: rules only.
        budget: the setting; see `tails.episodes_per_day`.

    Raises:
        StationwatchError: too few readings.
    """
    if len(history) < LEAST_READINGS:
        raise StationwatchError(f"training needs at least {LEAST_READINGS} readings, the history has {len(history)}")
    stations = history.by_station()
    cadence = typical_cadence(history, stations)
    resolution = resolutions(history, stations, sensors)
    prior = first_guess(history, stations, sensors, cadence, resolution)
    prior = learnt_spreads(history, sensors, prior)
    seen = witnessed(history, sensors, prior)
    limits = pooled_limits(seen, rate_of(budget, cadence, len(sensors) * len(WITNESSES) + 1))
    # One step of the resolution is no anomaly, however still a sensor was in training.
    spreads = np.stack([prior.innovation_spread, prior.spread], axis=1)
    limits = np.maximum(limits, 1.5 * resolution[:, None] / spreads)
    return replace(prior, limits=limits, run_limit=run_limits(seen))


def fit_detector(
    history: History, sensors: tuple[Sensor, ...], prior: Prior, *, trees: int, budget: float, rng: np.random.Generator
) -> tuple[IsolationForest, Spec]:
    """Fit a version: the forest, its reference and its threshold.

    The forest learns from complete, punctual readings of settled stations, on which neither a rule nor a witness fires.

    Args:
        history: readings, in arrival order.
        sensors: the catalogue.
        prior: the stream's, fitted here or long ago.
        trees: of the Isolation Forest.
        budget: the setting; see `tails.episodes_per_day`.
        rng: source of the forest's seed and of the choice of rows.

    Raises:
        StationwatchError: too few usable readings.
    """
    from sklearn.ensemble import IsolationForest

    reference = _reference(history, sensors, prior)
    rows = _learnable(history, sensors, prior, reference)
    if len(rows) < LEAST_READINGS:
        raise StationwatchError(
            f"only {len(rows)} of {len(history)} readings can teach the forest, {LEAST_READINGS} are needed; "
            f"it takes complete readings without a rule or witness firing (sensors: {', '.join(reference.sensors)})"
        )
    seed = int(rng.integers(2**31))
    samples = min(SAMPLES_PER_TREE, len(rows))
    forest = IsolationForest(n_estimators=trees, max_samples=samples, random_state=seed, n_jobs=1)
    forest.fit(_some(rows, FIT_ROWS, rng))
    names = feature_names(reference.sensors)
    # Fitting on an array leaves no names, and without them a forest of other features would pass for this one.
    forest.feature_names_in_ = np.array(names, dtype=object)
    packed = PackedForest.from_sklearn(forest, names)
    scores = packed.anomaly_score(_some(rows, THRESHOLD_ROWS, rng))
    typical, threshold = _forest_limits(scores, rate_of(budget, prior.cadence, len(sensors) * len(WITNESSES) + 1))
    spec = Spec(
        sensors=reference.sensors,
        centre=tuple(reference.centre.tolist()),
        spread=tuple(reference.spread.tolist()),
        forest_typical=typical,
        forest_threshold=threshold,
        budget=budget,
        trained=_facts(history, rows, trees, seed),
    )
    return forest, spec


def _forest_limits(scores: np.ndarray, rate: float) -> tuple[float, float]:
    """Return median and threshold of the forest's scores."""
    typical, threshold = float(np.median(scores)), forest_limit(scores, rate)
    return typical, max(min(threshold, _HIGHEST_THRESHOLD), typical + 0.01)


def _facts(history: History, rows: np.ndarray, trees: int, seed: int) -> dict[str, str | int | float]:
    import sklearn

    window = (history.event_ms.min(), history.event_ms.max())
    first, last = (f"{np.datetime64(int(moment), 'ms')}Z" for moment in window)
    return {
        "readings": len(history),
        "stations": len(set(history.station_ids)),
        "first": first,
        "last": last,
        "forest_rows": min(len(rows), FIT_ROWS),
        "threshold_rows": min(len(rows), THRESHOLD_ROWS),
        "trees": trees,
        "seed": seed,
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
    }


def _some(rows: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Return at most `most` of the rows, drawn, in their order."""
    if len(rows) <= most:
        return rows
    return rows[np.sort(rng.choice(len(rows), most, replace=False))]


def _reference(history: History, sensors: tuple[Sensor, ...], prior: Prior) -> Reference:
    """Median and robust total spread of all values of a sensor; a sensor without any is left to the rules."""
    known = [place for place in range(len(sensors)) if not np.isnan(history.values[:, place]).all()]
    names = tuple(sensors[place].name for place in known)
    if not names:
        raise StationwatchError("the history holds no value of any sensor; nothing can be learnt from it")
    values = history.values[:, known]
    centre = np.nanmedian(values, axis=0)
    spread = ABS_TO_SIGMA * np.nanmean(np.abs(values - centre), axis=0)
    return Reference(names, centre, np.maximum(spread, prior.for_sensors(names).floor))


def _learnable(history: History, sensors: tuple[Sensor, ...], prior: Prior, reference: Reference) -> np.ndarray:
    """Return the features of the readings that the forest may learn from, (m, n_features) float64.

    Raises:
        StationwatchError: as `fit_detector`.
    """
    warm, young = [], []
    settled, at = settled_rows(history, history.by_station()), 0
    for step in steps(history, sensors, prior):
        blocks = step.blocks.of_sensors(reference.sensors)
        rows = features(blocks, reference)
        fit = (step.outcome == ACCEPTED) & ~step.late & _unremarkable(blocks) & settled[at : at + len(rows)]
        at += len(rows)
        matured = (blocks.per_sensor("weight") >= WARM_WEIGHT).all(axis=1)
        warm.append(rows[fit & matured])
        young.append(rows[fit & ~matured])
    rows = np.concatenate(warm)
    # A history too short to warm up a station still has to give a model.
    return rows if len(rows) >= LEAST_READINGS else np.concatenate([rows, *young])


def _unremarkable(blocks: Blocks) -> np.ndarray:
    """Whether a reading is complete and neither a rule nor a statistical witness fires on it, (n,) bool."""
    good = (blocks.per_sensor("quality") == PRESENT).all(axis=1)
    good &= (blocks.per_sensor("run") <= blocks.per_sensor("run_limit")).all(axis=1)
    for witness in WITNESSES:
        good &= (np.abs(blocks.witness(witness, "u")) <= blocks.witness(witness, "limit")).all(axis=1)
    return np.asarray(good)
