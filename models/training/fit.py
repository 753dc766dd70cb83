"""Fitting: from a history of readings to the prior of a stream, and to a detector that judges by it.

Pure. The history runs through the same state step as the live stream, so what is fitted is what will be seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from core.errors import StationwatchError
from core.sensors import Sensor
from models.kernels.scoring_kernel import WARM_WEIGHT
from models.kernels.state_kernel import ACCEPTED
from models.kernels.statistics_kernel import Recipe
from models.scoring.detector import CALIBRATION, Detector, Spec
from models.scoring.feature_block import PRESENT, Blocks
from models.scoring.feature_samples import Samples
from models.scoring.features import FAR, FEATURES, Reference, features
from models.scoring.history import History, steps
from models.scoring.isolation_forest import PackedForest
from models.scoring.rules import RULES, SENSOR
from models.scoring.station_prior import Prior
from models.training.fit_prior import (
    first_guess,
    run_limits,
    settled_rows,
    typical_cadence,
    with_learnt,
    with_tails,
    witnessed,
)
from models.training.tail_limits import forest_limit, rate_of, tail_of

if TYPE_CHECKING:
    from sklearn.ensemble import IsolationForest

LEAST_READINGS = 30  # fewer say nothing about a tail
FIT_ROWS = 65_536  # 1000 trees draw 256,000 rows; scikit-learn looks at all it is given for each tree
THRESHOLD_ROWS = 200_000
SAMPLES_PER_TREE = 256
_FOREST_SHARE = 0.2  # of the budget
_PER_CLUSTER = 1.0 / 3.0  # an excursion of the forest's score lasts some three readings
# Readings that the forest's threshold needs: a short history does not show how stations behave on other days, and the
# forest has no controller that would find out. Below some 12,000 it only adds to the score.
_FOREST_YOUNG = 5000.0
_NEVER = 1.0  # no score is higher


def fit_prior(history: History, sensors: tuple[Sensor, ...], budget: float, recipe: Recipe | None = None) -> Prior:
    """Learn what to expect of a station of this plant before it has shown anything itself.

    Two passes: the first learns spreads, starting from a rough guess, the second the tails of the witnesses under them.

    Args:
        history: readings of stations of one plant, at their live cadence.
        sensors: the catalogue. One without any value in the history has to show itself later.
        budget: the setting; see `alarm_budget.episodes_per_day`.
        recipe: another one than the stream's, for ablations.

    Raises:
        StationwatchError: too few readings.
    """
    recipe = recipe or Recipe()
    if len(history) < LEAST_READINGS:
        raise StationwatchError(f"training needs at least {LEAST_READINGS} readings, the history has {len(history)}")
    stations = history.by_station()
    prior = first_guess(history, stations, sensors, typical_cadence(history, stations), budget)
    prior = with_learnt(prior, witnessed(history, sensors, prior, recipe))
    seen = witnessed(history, sensors, prior, recipe)
    return replace(with_tails(prior, seen), run_limit=run_limits(seen))


def fit_detector(
    history: History,
    sensors: tuple[Sensor, ...],
    prior: Prior,
    *,
    trees: int,
    budget: float,
    rng: np.random.Generator,
    recipe: Recipe | None = None,
) -> tuple[IsolationForest, Spec]:
    """Fit a version: the forest, its reference and its threshold.

    The forest learns from complete, punctual readings of settled stations, on which neither a rule nor a witness fires.

    Args:
        history: readings, in arrival order.
        sensors: the catalogue.
        prior: the stream's, fitted here or long ago.
        trees: of the Isolation Forest.
        budget: the setting; see `alarm_budget.episodes_per_day`.
        rng: source of the forest's seed and of the choice of rows.
        recipe: another one than the stream's, for ablations.

    Raises:
        StationwatchError: too few usable readings.
    """
    reference = _reference(history, sensors, prior)
    shown = _shown(history, sensors, prior, reference, recipe or Recipe())
    lesson = Lesson(reference, shown.learnable, shown.learnable, shown.blocks, _facts(history))
    return fit_lesson(lesson, prior, trees=trees, budget=budget, rng=rng)


@dataclass(frozen=True)
class Lesson:
    """What a version learns from.

    Args:
        reference: of values over the stations.
        forest_rows: (m, n_features) of readings that look normal.
        threshold_rows: (k, n_features) of readings that look normal, from contiguous series.
        blocks: settled readings, unusual ones too, whose scores are remembered for p-values.
        facts: for people, of where all of it comes from.
    """

    reference: Reference
    forest_rows: np.ndarray
    threshold_rows: np.ndarray
    blocks: Blocks
    facts: dict[str, str | int | float]


def lesson_from(samples: Samples, series: History, sensors: tuple[Sensor, ...], prior: Prior) -> Lesson:
    """Prepare a lesson from what a stream has stored.

    Args:
        samples: for the forest and the reference; single readings with the blocks that the stream made of them. What a
            rule or a witness fires on is left out here.
        series: contiguous readings of whole stations, for the thresholds.
        sensors: the catalogue.
        prior: the stream's.
    """
    names = tuple(sensor.name for sensor in sensors)
    values = samples.blocks.per_sensor("value").astype(np.float64)
    values[samples.blocks.per_sensor("quality") != PRESENT] = np.nan
    reference = _reference_of(values, names, prior)
    good = teaches(samples)
    shown = _shown(series, sensors, prior, reference, Recipe())
    facts = _facts(series) | {"samples": len(samples), "sample_stations": len(set(samples.station_ids))}
    rows = features(samples.blocks.take(good), reference)
    return Lesson(reference, rows, shown.learnable, shown.blocks, facts)


def teaches(samples: Samples) -> np.ndarray:
    """Whether a sample can teach the forest: punctual, of a settled station, no rule or witness firing, (n,) bool."""
    settled = (samples.blocks.per_sensor("weight") >= WARM_WEIGHT).any(axis=1)
    return np.asarray(settled & (samples.blocks.common("late") == 0) & _unremarkable(samples.blocks))


def fit_lesson(
    lesson: Lesson, prior: Prior, *, trees: int, budget: float, rng: np.random.Generator
) -> tuple[IsolationForest, Spec]:
    """Fit a version on a lesson; arguments as those of `fit_detector`.

    Raises:
        StationwatchError: too few usable readings.
    """
    from sklearn.ensemble import IsolationForest

    rows, reference = lesson.forest_rows, lesson.reference
    if min(len(rows), len(lesson.threshold_rows)) < LEAST_READINGS:
        raise StationwatchError(
            f"only {len(rows)} readings can teach the forest and {len(lesson.threshold_rows)} its threshold, "
            f"{LEAST_READINGS} are needed; it takes complete readings without a rule or witness firing "
            f"(sensors: {', '.join(reference.sensors)})"
        )
    seed = int(rng.integers(2**31))
    samples = min(SAMPLES_PER_TREE, len(rows))
    forest = IsolationForest(n_estimators=trees, max_samples=samples, random_state=seed, n_jobs=1)
    forest.fit(_some(rows, FIT_ROWS, rng))
    # Fitting on an array leaves no names, and without them a forest of other features would pass for this one.
    forest.feature_names_in_ = np.array(FEATURES, dtype=object)
    packed = PackedForest.from_sklearn(forest, FEATURES)
    scores = packed.anomaly_score(_some(lesson.threshold_rows, THRESHOLD_ROWS, rng))
    clearest = float(packed.anomaly_score(np.full((1, len(FEATURES)), FAR))[0])
    typical, threshold = _forest_limits(scores, clearest, rate_of(_FOREST_SHARE * budget, prior.cadence, _PER_CLUSTER))
    counts = {
        "forest_rows": min(len(rows), FIT_ROWS),
        "threshold_rows": min(len(lesson.threshold_rows), THRESHOLD_ROWS),
    }
    spec = Spec(
        sensors=reference.sensors,
        centre=tuple(reference.centre.tolist()),
        reach=tuple(reference.reach.tolist()),
        forest_typical=typical,
        forest_threshold=threshold,
        budget=budget,
        trained=lesson.facts | counts | {"trees": trees, "seed": seed} | _libraries(),
    )
    return forest, _calibrated(spec, Detector(spec, packed).judge(lesson.blocks).score)


def _forest_limits(scores: np.ndarray, clearest: float, rate: float) -> tuple[float, float]:
    """Return median and threshold of the forest's scores; `clearest` is its score of the clearest of faults."""
    typical, own = float(np.median(scores)), min(forest_limit(scores, rate), clearest - 1e-3)
    weight = (len(scores) / (len(scores) + _FOREST_YOUNG)) ** 2
    threshold = own + 2.0 * (1.0 - weight) * (clearest - own) if weight > 0.5 else _NEVER
    return typical, max(threshold, typical + 1e-3)


def _facts(history: History) -> dict[str, str | int | float]:
    window = (history.event_ms.min(), history.event_ms.max()) if len(history) else (0, 0)
    first, last = (f"{np.datetime64(int(moment), 'ms')}Z" for moment in window)
    return {"readings": len(history), "stations": len(set(history.station_ids)), "first": first, "last": last}


def _libraries() -> dict[str, str | int | float]:
    import sklearn

    return {"scikit-learn": sklearn.__version__, "numpy": np.__version__}


def _some(rows: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Return at most `most` of the rows, drawn, in their order."""
    if len(rows) <= most:
        return rows
    return rows[np.sort(rng.choice(len(rows), most, replace=False))]


def _reference(history: History, sensors: tuple[Sensor, ...], prior: Prior) -> Reference:
    return _reference_of(history.values, tuple(sensor.name for sensor in sensors), prior)


def _reference_of(values: np.ndarray, sensors: tuple[str, ...], prior: Prior) -> Reference:
    """Median of all values of a sensor, and how far from it is rare; a sensor without any has to show itself later."""
    known = [place for place in range(len(sensors)) if not np.isnan(values[:, place]).all()]
    names = tuple(sensors[place] for place in known)
    if not names:
        raise StationwatchError("the history holds no value of any sensor; nothing can be learnt from it")
    values = values[:, known]
    centre = np.nanmedian(values, axis=0)
    rate = rate_of(prior.budget, prior.cadence, float(len(names)))
    off = (np.abs(column[~np.isnan(column)]) for column in (values - centre).T)
    reach = np.array([tail_of(column, (-0.5, 0.1)).at(rate) for column in off])
    return Reference(names, centre, np.maximum(reach, prior.for_sensors(names).floor))


@dataclass(frozen=True)
class _Shown:
    """What a history showed: (m, n_features) rows that the forest may learn from, and blocks of settled readings."""

    learnable: np.ndarray
    blocks: Blocks


def _shown(history: History, sensors: tuple[Sensor, ...], prior: Prior, reference: Reference, recipe: Recipe) -> _Shown:
    warm: list[np.ndarray] = []
    young: list[np.ndarray] = []
    kept: list[Blocks] = []
    settled, at = settled_rows(history, history.by_station()), 0
    every = max(1, len(history) // THRESHOLD_ROWS)
    for step in steps(history, sensors, prior, recipe):
        rows = features(step.blocks, reference)
        fit = (step.outcome == ACCEPTED) & ~step.late & settled[at : at + len(rows)]
        at += len(rows)
        matured = (step.blocks.per_sensor("weight") >= WARM_WEIGHT).any(axis=1)
        kept.append(step.blocks.take(np.flatnonzero(fit & matured)[::every]))
        fit &= _unremarkable(step.blocks)
        warm.append(rows[fit & matured])
        young.append(rows[fit & ~matured])
    rows = np.concatenate(warm)
    blocks = Blocks(kept[0].sensors, np.concatenate([part.rows for part in kept]))
    # A history too short to warm up a station still has to give a model.
    return _Shown(rows if len(rows) >= LEAST_READINGS else np.concatenate([rows, *young]), blocks)


def _unremarkable(blocks: Blocks) -> np.ndarray:
    """Whether a reading is plausible and neither a rule nor a statistical witness fires on it, (n,) bool."""
    good = (blocks.per_sensor("quality") == PRESENT).any(axis=1)
    for rule in RULES:
        # A gap says nothing of the values; the history that trains has many.
        if rule.scope == SENSOR:
            good &= ~rule.fires(blocks).any(axis=1)
    good &= (np.abs(blocks.witnesses("ratio")) <= 1.0).all(axis=(1, 2))
    return np.asarray(good)


def _calibrated(spec: Spec, scores: np.ndarray) -> Spec:
    """Return the spec with the distribution of scores on its own training readings, for p-values."""
    if len(scores) < LEAST_READINGS:
        return spec
    tail = tail_of(scores, (-0.5, 0.3))
    bulk = np.quantile(scores, 1.0 - np.array(CALIBRATION))
    return msgspec.structs.replace(spec, score_quantiles=tuple(bulk.tolist()), score_tail=tuple(tail))
