"""False alarms over budget on plants without any fault, at several cadences and lengths of training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.detection.detectors import Judge, stated_budget
from benchmarks.detection.simulator import healthy_plant, judged_plant
from iot_simulator.process import Flavour

CADENCES = (1.0, 5.0, 60.0, 300.0)
TRAINING_ROWS = (200, 1000, 4000)
STATIONS = 20
# So many false alarms are awaited at the budget: with 60 the ratio is uncertain by some 15 to 25 %.
_AWAITED = 60.0
_LEAST_READINGS, _MOST_READINGS = 3000, 20_000


def evaluate_calibration(
    detector: Judge,
    *,
    cadences: Sequence[float] = CADENCES,
    training_rows: Sequence[int] = TRAINING_ROWS,
    flavour: Flavour = "plain",
    seed: int = 1,
    budget: float = 1.0,
) -> list[dict[str, Any]]:
    """Return for each cadence and number of training rows per station the false alarms a day, budgeted and realised."""
    return [
        calibrated(detector, cadence, rows, flavour=flavour, seed=seed, budget=budget)
        for cadence in cadences
        for rows in training_rows
    ]


def calibrated(
    detector: Judge, cadence: float, training_rows: int, *, flavour: Flavour, seed: int, budget: float
) -> dict[str, Any]:
    """Return the false alarms of one plant without faults."""
    promised = stated_budget(budget, cadence)
    judged_days = _AWAITED / promised / STATIONS
    judged_ticks = int(np.clip(judged_days * 86_400.0 / cadence, _LEAST_READINGS, _MOST_READINGS))
    plant = healthy_plant(
        seed,
        flavour,
        stations=STATIONS,
        ticks=training_rows + judged_ticks,
        training_ticks=training_rows,
        cadence=cadence,
    )
    outcome = judged_plant(detector, plant, budget, seed).evaluated(cadence=cadence)
    return {
        "flavour": flavour,
        "cadence": cadence,
        "training_rows": training_rows,
        "station_days": outcome.station_days,
        "budget_per_day": promised,
        "false_alarms": outcome.false_alarms,
        "per_station_day": outcome.false_alarms_per_day,
        "over_budget": outcome.false_alarms_per_day / promised,
        "flagged": outcome.clean_flagged,
    }
