"""From what the stream has stored to a version that has met the gates, with everything that people ask of it later."""

from __future__ import annotations

import json
import platform
import time
from dataclasses import dataclass
from importlib.metadata import version as release_of

import numpy as np

from core.sensors import Sensor
from models.drift.reference import make_reference, reference_of
from models.retraining.gates import GateReport
from models.scoring import artefact
from models.scoring.artefact import LoadedArtefact, pack
from models.scoring.detector import Detector
from models.scoring.exemptions import Exemptions
from models.scoring.features import FEATURES
from models.scoring.isolation_forest import PackedForest
from models.scoring.station_prior import Prior
from models.training.figures import figures_of
from models.training.fit import fit_lesson, lesson_from
from models.training.train_steps import Training
from models.training.training_set import TrainingSet

LIBRARIES = ("scikit-learn", "skops", "numpy", "numba", "mlflow")


@dataclass(frozen=True)
class Fitting:
    """What a retraining is given.

    Args:
        sensors: the catalogue.
        prior: the stream's.
        trees: of the Isolation Forest.
        budget: the setting; see `alarm_budget.episodes_per_day`.
        seed: of everything that is drawn.
        exemptions: what people's feedback exempts.
    """

    sensors: tuple[Sensor, ...]
    prior: Prior
    trees: int
    budget: float
    seed: int
    exemptions: Exemptions | None = None


def retrained(given: TrainingSet, fitting: Fitting) -> Training:
    """Fit a version on what the stream has stored. Pure.

    Raises:
        StationwatchError: too few usable readings.
    """
    begun = time.perf_counter()
    lesson = lesson_from(given.samples, given.series, fitting.sensors, fitting.prior)
    taught = time.perf_counter()
    forest, spec = fit_lesson(
        lesson, fitting.prior, trees=fitting.trees, budget=fitting.budget, rng=np.random.default_rng(fitting.seed)
    )
    spec = spec.exempting(fitting.exemptions)
    detector = Detector(spec, PackedForest.from_sklearn(forest, FEATURES))
    fitted = time.perf_counter()
    # Readings that were flagged belong to the reference: how often it flags is something that drifts, too.
    reference = make_reference(given.samples, detector, np.random.default_rng(fitting.seed))
    packed = pack(forest, spec, fitting.prior, reference.to_bytes())
    seconds = {"lesson": taught - begun, "detector": fitted - taught, "pack": time.perf_counter() - fitted}
    return Training(packed, spec, fitting.prior, seconds)


def params_of(given: TrainingSet) -> dict[str, str | int | float]:
    """What the run says of its data and of the software that made it."""
    stations = len(set(given.samples.station_ids))
    return {
        "window_start": f"{np.datetime64(given.start_ms, 'ms')}Z",
        "window_end": f"{np.datetime64(given.end_ms, 'ms')}Z",
        "samples_read": given.read,
        "samples_used": len(given.samples),
        "samples_stations": stations,
        "largest_station_share": round(given.most_share, 4),
        "series_readings": len(given.series),
        "series_stations": len(set(given.series.station_ids)),
        "excluded": json.dumps(given.excluded, sort_keys=True),
        "python": platform.python_version(),
        **{f"version.{name}": release_of(name) for name in LIBRARIES},
    }


def metrics_of(given: TrainingSet, gates: GateReport) -> dict[str, float]:
    """What the run measures: exclusions and the figures of every gate."""
    metrics = {f"excluded.{reason}": float(count) for reason, count in given.excluded.items()}
    for gate in gates.gates:
        metrics |= {f"gate.{gate.name}": float(gate.passed)}
        metrics |= {f"gate.{gate.name}.{name}": value for name, value in gate.figures.items()}
    return metrics


def pictures_of(given: TrainingSet, training: Training, champion: LoadedArtefact) -> dict[str, bytes]:
    """The run's plots: file name → PNG."""
    loaded = artefact.load(training.artefact, artefact.sha256_of(training.artefact))
    return figures_of(given.samples, loaded.detector, champion.detector, reference_of(champion.reference))
