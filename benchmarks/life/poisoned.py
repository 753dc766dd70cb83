"""What a training on poisoned readings does: faults are left in, and the challenger meets the gates.

Harmless is a challenger that finds every kind of injected fault as often as the champion and raises no more false
alarms, which is what the gates ask; anything else has to be refused by them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.life.plants import Plant
from core.sensors import DEFAULT_SENSORS
from models.evaluation.fault_injection import LENGTHS, MAGNITUDES
from models.evaluation.fault_models import KINDS, bend_series
from models.retraining.gates import Exam, GateReport, judge_challenger
from models.scoring.detector import Detector
from models.scoring.features import FEATURES
from models.scoring.history import History
from models.scoring.isolation_forest import PackedForest
from models.scoring.station_prior import Prior
from models.training.fit import fit_detector, fit_prior

DAY = 86_400.0
SHARES = (0.0, 0.05, 0.2)
STATIONS, CADENCE, TRAINING_DAYS, EXAM_DAYS, TREES, BUDGET = 25, 60.0, 3, 2, 1000, 1.0


def measure(seed: int = 61) -> dict[str, Any]:
    """Return the gates' outcome for trainings with these shares of poisoned readings."""
    plant = Plant(seed, "plain", STATIONS, CADENCE)
    training = plant.history(0.0, TRAINING_DAYS * DAY)
    prior = fit_prior(training, DEFAULT_SENSORS, BUDGET)
    champion = fitted(training, prior, seed)
    exam = Exam(plant.history(TRAINING_DAYS * DAY, (TRAINING_DAYS + EXAM_DAYS) * DAY), DEFAULT_SENSORS, prior)
    found: dict[str, Any] = {}
    for share in SHARES:
        rng = np.random.default_rng([seed, round(100 * share)])
        challenger = fitted(poisoned(training, plant, share, rng), prior, seed + 1)
        report = judge_challenger(champion, challenger, exam, seed=seed)
        found[f"{share:.0%}"] = outcome(report)
        print(f"  {share:.0%} poisoned: {'passed' if report.passed else 'refused'}: {report.reason}", flush=True)
    return {"poisoned": found}


def poisoned(history: History, plant: Plant, share: float, rng: np.random.Generator) -> History:
    """Bend faults of all kinds into a copy until `share` of the readings are faulty."""
    values = np.array(history.values)
    rows, bent = history.by_station(), 0
    while bent < share * len(history):
        code = int(rng.integers(len(rows)))
        kind, sensor = str(rng.choice(KINDS)), int(rng.integers(values.shape[1]))
        start = int(rng.integers(len(rows[code]) - LENGTHS[kind]))
        place = rows[code][start : start + LENGTHS[kind]]
        values[place] = bend_series(
            values[place], sensor=sensor, kind=kind, start=0, length=len(place),
            magnitude=float(rng.choice(MAGNITUDES)), sigma=float(plant.process.sigma[code, sensor]), rng=rng,
        )  # fmt: skip
        bent += len(place)
    return replace(history, values=values)


def fitted(history: History, prior: Prior, seed: int) -> Detector:
    """Fit a version as the retrainer does: under the stream's prior."""
    rng = np.random.default_rng(seed)
    forest, spec = fit_detector(history, DEFAULT_SENSORS, prior, trees=TREES, budget=BUDGET, rng=rng)
    return Detector(spec, PackedForest.from_sklearn(forest, FEATURES))


def outcome(report: GateReport) -> dict[str, Any]:
    """Return what people want to know of a report."""
    figures = {gate.name: gate.figures for gate in report.gates}
    return {"passed": report.passed, "reason": report.reason, "gates": figures}
