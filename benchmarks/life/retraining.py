"""How long a retraining takes at 100,000 samples: exclusions, fitting, gates, plots. Without Cassandra and MLflow."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from core.sensors import DEFAULT_SENSORS
from iot_simulator.process import StationProcess
from models.retraining.challenger_training import Fitting, pictures_of, retrained
from models.retraining.gates import Exam, judge_challenger
from models.scoring.artefact import load, sha256_of
from models.scoring.feature_samples import Samples, samples_of
from models.scoring.history import History
from models.training.train_steps import fit
from models.training.training_set import SERIES_READINGS, SERIES_STATIONS, TrainingSet, usable

SAMPLES, STATIONS, CADENCE, TREES = 100_000, 50, 60, 1000
_FIRST = 1_767_571_200 // CADENCE


def measure() -> dict[str, Any]:
    """Return seconds of each phase of a retraining on 100,000 samples and the longest series that it reads."""
    ticks = SAMPLES // STATIONS
    first = fit(_history(1, 1500, STATIONS), DEFAULT_SENSORS, trees=TREES, budget=1.0, seed=1)
    champion = load(first.artefact, sha256_of(first.artefact))
    history = _history(2, ticks, STATIONS)
    samples = samples_of(history, DEFAULT_SENSORS, first.prior, len(history))
    flags = champion.detector.judge(samples.blocks).flags
    samples = Samples(samples.station_ids, samples.event_ms, flags, samples.blocks)
    series = _history(3, SERIES_READINGS, SERIES_STATIONS)
    begun = time.perf_counter()
    kept, excluded = usable(samples, [], [])
    none = np.zeros(len(series), bool)
    given = TrainingSet(kept, series, none, excluded, len(samples), 0, 1, 1.0 / STATIONS)
    chosen = time.perf_counter()
    training = retrained(given, Fitting(DEFAULT_SENSORS, first.prior, TREES, 1.0, 3))
    fitted = time.perf_counter()
    challenger = load(training.artefact, sha256_of(training.artefact))
    report = judge_challenger(
        champion.detector, challenger.detector, Exam(series, DEFAULT_SENSORS, first.prior), seed=3
    )
    gated = time.perf_counter()
    pictures_of(given, training, champion)
    drawn = time.perf_counter()
    return {
        "retraining_samples": len(samples),
        "retraining_samples_used": len(kept),
        "retraining_series_readings": len(series),
        "retraining_exclusion_seconds": chosen - begun,
        "retraining_fit_seconds": fitted - chosen,
        "retraining_gates_seconds": gated - fitted,
        "retraining_plots_seconds": drawn - gated,
        "retraining_seconds": drawn - begun,
        "retraining_passed": report.passed,
    }


def _history(seed: int, ticks: int, stations: int) -> History:
    process = StationProcess(seed, range(stations), DEFAULT_SENSORS, float(CADENCE))
    values = process.block(_FIRST, ticks).reshape(-1, len(DEFAULT_SENSORS))
    tick = np.repeat(np.arange(_FIRST, _FIRST + ticks, dtype=np.int64), stations)
    names = [f"s{number}" for number in range(stations)] * ticks
    return History(names, tick * CADENCE * 1000, tick * CADENCE * 1000, tick, values)
