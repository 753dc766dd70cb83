"""The steps of a training: fit, pack, register, point an alias at it. Used by the command and by the retrainer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from core.sensors import Sensor
from models.drift.reference import make_reference
from models.kernels.columns import LEVEL
from models.registry.registry import Registry, Version
from models.scoring.artefact import pack
from models.scoring.detector import Detector, Spec
from models.scoring.exemptions import Exemptions
from models.scoring.feature_samples import samples_of
from models.scoring.features import FEATURES
from models.scoring.history import History
from models.scoring.isolation_forest import PackedForest
from models.scoring.station_prior import Prior
from models.training.fit import fit_detector, fit_prior
from models.training.fit_prior import without_scraps

REFERENCE_READINGS = 50_000
"""Readings that the reference for drift is drawn from."""


@dataclass(frozen=True)
class Training:
    """A fitted version that nobody knows yet.

    Args:
        artefact: its bytes.
        spec: what it holds beside its forest.
        prior: fitted with it, or given.
        seconds: how long each phase took.
    """

    artefact: bytes
    spec: Spec
    prior: Prior
    seconds: dict[str, float] = field(default_factory=dict)


def fit(
    history: History,
    sensors: tuple[Sensor, ...],
    *,
    trees: int,
    budget: float,
    seed: int,
    prior: Prior | None = None,
    exemptions: Exemptions | None = None,
    reference_stretches: bool = False,
) -> Training:
    """Fit a version.

    Args:
        history: readings, in arrival order.
        sensors: the catalogue.
        trees: of the Isolation Forest.
        budget: the setting; see `alarm_budget.episodes_per_day`.
        seed: of everything that is drawn.
        prior: the stream's, when there is a stream already; its state was built on it. None fits one.
        exemptions: what people's feedback exempts, from `feedback.learn_exemptions`.
        reference_stretches: stretches too short for a lesson are there to tell the drift reference of their hours.

    Raises:
        StationwatchError: the history teaches nothing; the sentence says why.
    """
    seconds: dict[str, float] = {}
    lesson = without_scraps(history) if reference_stretches else history
    with _timed(seconds, "prior"):
        known = fit_prior(lesson, sensors, budget) if prior is None else prior
    with _timed(seconds, "detector"):
        forest, spec = fit_detector(lesson, sensors, known, trees=trees, budget=budget, rng=np.random.default_rng(seed))
    spec = spec.exempting(exemptions)
    with _timed(seconds, "reference"):
        detector = Detector(spec, PackedForest.from_sklearn(forest, FEATURES))
        shown = samples_of(history, sensors, known, REFERENCE_READINGS)
        reference = make_reference(shown, detector, np.random.default_rng(seed))
    with _timed(seconds, "pack"):
        artefact = pack(forest, spec, known, reference.to_bytes())
    return Training(artefact, spec, known, seconds)


def register(
    registry: Registry, training: Training, *, alias: str | None = None, tags: Mapping[str, str] | None = None
) -> Version:
    """Register a version and, when an alias is given, let it point there: from then on others use it.

    Args:
        registry: where.
        training: what.
        alias: `champion`, `challenger` or None.
        tags: why and by whom, for people.

    Raises:
        RegistryUnavailable: nothing usable was registered; the same call may succeed later.
    """
    version = registry.register(
        training.artefact, params_of_training(training), metrics_of_training(training), dict(tags or {})
    )
    if alias is not None:
        registry.set_alias(alias, version)
    return version


def params_of_training(training: Training) -> dict[str, str | int | float]:
    """What the run says a version was made of."""
    spec = training.spec
    return {
        **spec.trained,
        "sensors": ",".join(spec.sensors),
        "false_alarm_budget": spec.budget,
        "exemptions": len(spec.exemptions.stations) if spec.exemptions else 0,
        "prior_sha256": training.prior.sha256,
    }


def metrics_of_training(training: Training) -> dict[str, float]:
    """What the run measures of a version."""
    spec, prior = training.spec, training.prior
    metrics = {
        "forest_threshold": spec.forest_threshold,
        "forest_typical": spec.forest_typical,
        "cadence_seconds": prior.cadence,
        "artefact_bytes": float(len(training.artefact)),
    }
    for place, sensor in enumerate(prior.sensors):
        metrics[f"spread.{sensor}"] = float(prior.spread[place, LEVEL])
        metrics[f"tail.level.{sensor}"] = float(prior.tail_start[place, LEVEL])
    return metrics | {f"seconds.{phase}": taken for phase, taken in training.seconds.items()}


@contextmanager
def _timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[phase] = time.perf_counter() - start
