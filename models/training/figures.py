"""Plots of a retraining: how scores are spread, how far each feature moved, where the unusual readings lie."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.figure import Figure

from models.drift.reference import DriftReference
from models.scoring.detector import Detector
from models.scoring.feature_samples import Samples
from models.scoring.features import features

_POINTS = 4000
_INK, _OLD, _FLAG = "#1f4e79", "#90a4ae", "#c62828"


def figures_of(
    samples: Samples, challenger: Detector, champion: Detector, reference: DriftReference | None
) -> dict[str, bytes]:
    """Draw a retraining.

    Args:
        samples: what was learnt from.
        challenger: the version that was fitted.
        champion: the one that judges.
        reference: of the champion, None when it has none.

    Returns:
        File name → PNG.
    """
    return {
        "score_distribution.png": _scores(samples, challenger, champion),
        "drift_per_feature.png": _drift(samples, champion, reference),
        "projection.png": _projection(samples, challenger),
    }


def _scores(samples: Samples, challenger: Detector, champion: Detector) -> bytes:
    figure = Figure(figsize=(7, 4), layout="constrained")
    panel = figure.subplots()
    for name, version, ink in (("champion", champion, _OLD), ("challenger", challenger, _INK)):
        scores = version.forest.anomaly_score(features(samples.blocks, version.reference))
        panel.hist(scores, bins=80, histtype="step", color=ink, label=name)
        panel.axvline(min(version.spec.forest_threshold, 1.0), color=ink, linestyle="--", linewidth=0.8)
    panel.set(xlabel="forest score of training readings (dashed: threshold)", ylabel="readings", yscale="log")
    panel.legend()
    return _png(figure)


def _drift(samples: Samples, champion: Detector, reference: DriftReference | None) -> bytes:
    """Distance of each column's quartiles from the champion's reference, in its standard deviations."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    panel = figure.subplots()
    if reference is None or not len(reference.rows):
        panel.text(0.5, 0.5, "the champion has no reference to compare with", ha="center")
        return _png(figure)
    before = reference.compared()
    now, _ = reference.compare(samples, champion)
    shift = [
        _distance(before.columns[:, place], now.columns[:, now.names.index(name)])
        for place, name in enumerate(before.names)
        if name in now.names
    ]
    names = [name for name in before.names if name in now.names]
    panel.barh(names, shift, color=_INK)
    panel.set(xlabel="Wasserstein distance from the champion's training, in its standard deviations")
    return _png(figure)


def _distance(before: np.ndarray, now: np.ndarray) -> float:
    before, now = before[np.isfinite(before)], now[np.isfinite(now)]
    if len(before) < 2 or not len(now) or before.std() == 0:
        return 0.0
    at = np.linspace(0.005, 0.995, 100)
    return float(np.abs(np.quantile(before, at) - np.quantile(now, at)).mean() / before.std())


def _projection(samples: Samples, challenger: Detector) -> bytes:
    every = max(1, len(samples) // _POINTS)
    rows = features(samples.blocks, challenger.reference)[::every]
    high = challenger.forest.anomaly_score(rows)
    centred = rows - rows.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    place = centred @ axes[:2].T
    unusual = high >= np.quantile(high, 0.99)
    figure = Figure(figsize=(6, 5), layout="constrained")
    panel = figure.subplots()
    panel.scatter(place[~unusual, 0], place[~unusual, 1], s=3, color=_OLD, label="training readings")
    panel.scatter(place[unusual, 0], place[unusual, 1], s=9, color=_FLAG, label="highest 1 % of scores")
    panel.set(xlabel="first principal component", ylabel="second")
    panel.legend()
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
