"""What the drift check cries about, what it finds, and how long it takes."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.life.plants import NAMES, START, Plant, Version, run_on
from core.sensors import DEFAULT_SENSORS
from iot_simulator.process import Flavour
from models.drift.check import DriftLimits, check_drift, compare_window
from models.drift.report import DriftReport, WindowDrift, conclusion
from models.scoring.feature_samples import Samples
from models.scoring.shard_state import ShardState

HOUR, DAY = 3600.0, 86_400.0
LIMITS = DriftLimits()
STATIONS, CADENCE, TRAINING_DAYS, TREES = 25, 300.0, 7, 100
# Two windows of each plant end before three windows are there.
PLANTS, CHECKS_A_PLANT = 10, 100
SHIFT = 0.5  # sigma


def measure(plants: int = PLANTS, checks: int = CHECKS_A_PLANT, *, rows: int = 1_000_000) -> dict[str, Any]:
    """Return every figure of this module."""
    return {**checked(plants, checks), **tiny_shift(rows), **speed()}


def checked(plants: int, checks: int) -> dict[str, Any]:
    """Count drift-free checks that fire, and half-sigma shifts of one sensor that are found."""
    windows: list[WindowDrift] = []
    reports: list[DriftReport] = []
    found: list[dict[str, bool]] = []
    for number in range(plants):
        flavour: Flavour = "hard" if number % 2 else "plain"
        plant = Plant(1000 + number, flavour, STATIONS, CADENCE)
        version = plant.version(plant.history(0.0, TRAINING_DAYS * DAY), trees=TREES)
        of_plant, answers = drift_free(plant, version, checks)
        windows, reports = windows + of_plant, reports + answers
        found += [shifted(plant, version, sensor) for sensor in range(len(NAMES))]
        fired = sum(answer.answer == "drift" for answer in reports)
        hits = sum(one["found"] for one in found)
        print(f"  plant {number} ({flavour}): {fired} of {len(reports)} fire, {hits} of {len(found)} found", flush=True)
    fired_by: dict[str, int] = {}
    for report in reports:
        for name in report.persistent:
            fired_by[name] = fired_by.get(name, 0) + 1
    return {
        "drift_free_checks": len(reports),
        "drift_free_checks_that_fire": sum(report.answer == "drift" for report in reports),
        "drift_free_checks_insufficient": sum(report.answer == "insufficient_data" for report in reports),
        "drift_free_windows": len(windows),
        "drift_free_windows_that_fire": sum(bool(window.fired) for window in windows),
        "fired_by": fired_by,
        "half_sigma_shifts": len(found),
        "half_sigma_found": sum(one["found"] for one in found),
        "half_sigma_named": sum(one["named"] for one in found),
        "persistence_window_hours": LIMITS.windows * LIMITS.window_ms / 3_600_000,
    }


def drift_free(plant: Plant, version: Version, checks: int) -> tuple[list[WindowDrift], list[DriftReport]]:
    """Check again and again, a window later each time, while nothing happens."""
    hours = LIMITS.window_ms / 3_600_000
    state = ShardState.from_bytes(version.state, DEFAULT_SENSORS, version.prior)
    windows: list[WindowDrift] = []
    begin = TRAINING_DAYS * DAY
    for number in range(checks + LIMITS.windows - 1):
        start = begin + number * hours * HOUR
        samples = run_on(version, plant.history(start, start + hours * HOUR), state)
        span = (int((START + start) * 1000), int((START + start + hours * HOUR) * 1000))
        rng = np.random.default_rng([plant.seed, number])
        windows.append(compare_window(samples, span, version.reference, version.detector, LIMITS, rng))
    reports = [
        conclusion(windows[at : at + LIMITS.windows], version=1, checked_ms=windows[at + LIMITS.windows - 1].end_ms,
                   least=LIMITS.persistent, facts=None)
        for at in range(checks)
    ]  # fmt: skip
    return windows, reports


def shifted(plant: Plant, version: Version, sensor: int) -> dict[str, bool]:
    """Whether half a sigma on one sensor is found at the end of the persistence window, and by its name."""
    start, length = TRAINING_DAYS * DAY, LIMITS.windows * LIMITS.window_ms / 1000.0
    shift = np.where(np.arange(len(NAMES)) == sensor, SHIFT, 0.0)
    samples = run_on(version, plant.history(start, start + length, shift))
    report = _check(samples, version, int((START + start + length) * 1000), LIMITS)
    return {"found": report.answer == "drift", "named": f"level:{NAMES[sensor]}" in report.persistent}


def tiny_shift(rows: int) -> dict[str, Any]:
    """A shift of 0.02 sigma of every station at a million readings in one window: an effect nobody needs to know of."""
    stations, hours = 200, 6.0
    coarse = Plant(77, "plain", stations, 300.0)
    version = coarse.version(coarse.history(0.0, 7 * DAY), trees=TREES, most=400_000)
    fine = Plant(77, "plain", stations, hours * HOUR * stations / rows)
    start = 7 * DAY
    history = fine.history(start, start + hours * HOUR, np.array([0.02, 0.0, 0.0]))
    samples = run_on(version, history, ShardState(DEFAULT_SENSORS, version.prior))
    limits = DriftLimits(windows=1, persistent=1)
    began = time.perf_counter()
    report = _check(samples, version, int((START + start + hours * HOUR) * 1000), limits)
    level = next(one for one in report.windows[0].features if one.name == "level:temperature")
    return {
        "tiny_shift_sigma": 0.02,
        "tiny_shift_rows": level.rows,
        "tiny_shift_fires": report.answer == "drift",
        "tiny_shift_effect": level.effect.effect if level.effect else None,
        "tiny_shift_p_value": level.p_value,
        "tiny_shift_check_seconds": time.perf_counter() - began,
    }


def speed(rows: int = 100_000, trees: int = 1000) -> dict[str, Any]:
    """Seconds of a check of 100,000 samples with a forest of the usual size, reading them from Cassandra apart."""
    plant = Plant(5, "plain", 93, 60.0)
    version = plant.version(plant.history(0.0, DAY), trees=trees)
    length = LIMITS.windows * LIMITS.window_ms / 1000.0
    samples = run_on(version, plant.history(DAY, DAY + length)).take(np.arange(rows))
    now_ms = int((START + DAY + length) * 1000)
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        _check(samples, version, now_ms, LIMITS)
        taken.append(time.perf_counter() - began)
    return {"check_samples": len(samples), "check_seconds": min(taken)}


def _check(samples: Samples, version: Version, now_ms: int, limits: DriftLimits) -> DriftReport:
    rng = np.random.default_rng(3)
    return check_drift(samples, version.reference, version.detector, version=1, now_ms=now_ms, limits=limits, rng=rng)
