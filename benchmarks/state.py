"""How fast the state step and the verdicts are, and how large the state is: `python -m benchmarks.state`.

Readings of 2,000 stations in large batches on one thread; only its own CPU time counts, the best of some turns.
Prints a table and writes `benchmarks/results/state.json`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from core.sensors import DEFAULT_SENSORS
from iot_simulator.process import StationProcess
from models.scoring.detector import Detector
from models.scoring.features import FEATURES
from models.scoring.history import History
from models.scoring.isolation_forest import PackedForest
from models.scoring.shard_state import ShardState
from models.training.fit import fit_detector, fit_prior

RESULT = Path(__file__).resolve().parent / "results" / "state.json"
STATIONS, TICKS, TURNS, TREES = 2000, 100, 5, 1000


def readings(stations: int, first_tick: int, ticks: int) -> History:
    """Return healthy readings of a plant at a reading a second, ordered by time."""
    values = StationProcess(1, range(stations), DEFAULT_SENSORS, 1.0).block(first_tick, ticks)
    names = [f"station-{number:06d}" for number in range(stations)] * ticks
    event_ms = np.repeat((first_tick + np.arange(ticks, dtype=np.int64)) * 1000, stations)
    return History(names, event_ms, event_ms, event_ms // 1000, values.reshape(-1, len(DEFAULT_SENSORS)))


def main() -> int:
    """Measure, print and write."""
    argparse.ArgumentParser(prog="python -m benchmarks.state", description=__doc__).parse_args()
    learning = readings(20, 1_790_000_000, 2000)
    prior = fit_prior(learning, DEFAULT_SENSORS, 1.0)
    rng = np.random.default_rng(1)
    forest, spec = fit_detector(learning, DEFAULT_SENSORS, prior, trees=TREES, budget=1.0, rng=rng)
    detector = Detector(spec, PackedForest.from_sklearn(forest, FEATURES))
    state = ShardState(DEFAULT_SENSORS, prior)
    step_us, judge_us = [], []
    for turn in range(TURNS):
        batch = readings(STATIONS, 1_790_010_000 + turn * TICKS, TICKS)
        began = time.process_time()
        step = state.take(batch)
        stepped = time.process_time()
        detector.judge(step.blocks)
        step_us.append(1e6 * (stepped - began) / len(batch))
        judge_us.append(1e6 * (time.process_time() - stepped) / len(batch))
    found = {
        "state_us_per_reading": min(step_us),
        "state_readings_per_second": 1e6 / min(step_us),
        "judge_us_per_reading": min(judge_us),
        "state_bytes_per_station": len(state.to_bytes()) / STATIONS,
        "sensors": len(DEFAULT_SENSORS),
        "trees": TREES,
    }
    for name, value in found.items():
        print(f"{name:28s} {value:12.1f}")
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
