"""The product's detector with one part left out at a time: what each part is worth."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np

from benchmarks.detection.detectors import Judge
from core.sensors import Sensor
from models.kernels.statistics_kernel import Recipe
from models.scoring.detector import Detector
from models.scoring.feature_block import COMMON, WITNESSES, Blocks
from models.scoring.features import FEATURES
from models.scoring.history import History, steps
from models.scoring.isolation_forest import PackedForest
from models.training.fit import fit_detector, fit_prior

TREES = 100
_LASTING = COMMON.index("lasting")


def variant(
    *,
    recipe: Recipe | None = None,
    without: tuple[str, ...] = (),
    forest: bool = True,
    lasting: bool = True,
    trees: int = TREES,
) -> Judge:
    """Return the detector with a part changed.

    Args:
        recipe: of the state.
        without: witnesses that never fire.
        forest: whether it may fire and count in the score.
        lasting: whether the mean over the last readings counts in the score.
        trees: of the forest.
    """
    recipe = recipe or Recipe()

    def judge(
        history: History, training: np.ndarray, sensors: tuple[Sensor, ...], budget: float, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        learning = _rows(history, np.flatnonzero(training))
        prior = fit_prior(learning, sensors, budget, recipe)
        prior.tail_start[:, [WITNESSES.index(name) for name in without]] = np.inf
        rng = np.random.default_rng(seed)
        fitted, spec = fit_detector(learning, sensors, prior, trees=trees, budget=budget, rng=rng, recipe=recipe)
        if not forest:
            spec = msgspec.structs.replace(spec, forest_typical=1.0, forest_threshold=2.0)
        detector = Detector(spec, PackedForest.from_sklearn(fitted, FEATURES))
        parts = []
        for step in steps(history, sensors, prior, recipe):
            rows = step.blocks.rows
            if not lasting:
                rows[:, _LASTING] = 0.0
            verdicts = detector.judge(Blocks(step.blocks.sensors, rows))
            parts.append((verdicts.score, verdicts.is_anomaly))
        score, flagged = (np.concatenate(column) for column in zip(*parts, strict=True))
        return score, flagged

    return judge


def _rows(history: History, rows: np.ndarray) -> History:
    names = [history.station_ids[row] for row in rows.tolist()]
    arrays = {name: getattr(history, name)[rows] for name in ("event_ms", "record_ms", "seq", "values")}
    return replace(history, station_ids=names, **arrays)


ABLATION: dict[str, Judge] = {
    "without the forest": variant(forest=False),
    "without the mean over 30 readings": variant(lasting=False),
    "without cross-sensor residuals": variant(recipe=Recipe(cross=0.0), without=("cross_band", "cross_level")),
    "without the daily profile": variant(recipe=Recipe(profile=0.0)),
    "without the noise witness": variant(without=("noise",)),
    "without innovation and bands": variant(without=("innovation", "band_12", "band_48")),
    "without levels": variant(without=("level", "level_12", "level_48", "level_192")),
    "every cluster length 1": variant(recipe=Recipe(clusters=0.0)),
    "without the controller": variant(recipe=Recipe(episode_step=0.0, hour_step=0.0)),
    "no slack for a trusted history": variant(recipe=Recipe(slack=0.0)),
    "a sensor in alarm teaches its quiet witnesses": variant(recipe=Recipe(guard=0.0)),
    "pooled tails only": variant(recipe=Recipe(shrink=1e9)),
    "own tails with little prior": variant(recipe=Recipe(shrink=100.0)),
    "no hurry back after a fault": variant(recipe=Recipe(back=1.0)),
}
