"""What two hundred false alarms that people confirmed change in the next version: a labelled scenario.

A machine starts several times a day beside some stations: their noise rises by five sigma for a quarter of an hour. It
is benign, it is flagged, and 200 of the flagged readings of the first days are called false positives. The next version
is fitted on the same readings, once with this feedback and once without; both judge the days behind, in which the
machine goes on starting and faults of every kind hit every station and sensor.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.detection.simulator import CADENCE, DAYS, STATIONS, TRAINING_DAYS, Plant, faulty_plant
from core.feedback import FALSE_POSITIVE
from core.sensors import DEFAULT_SENSORS
from models.evaluation.evaluation import MARGIN, evaluate
from models.evaluation.scored_rows import Scored
from models.kernels.state_kernel import ACCEPTED
from models.scoring.detector import Detector
from models.scoring.feature_samples import Samples
from models.scoring.features import FEATURES
from models.scoring.history import History
from models.scoring.isolation_forest import PackedForest
from models.scoring.shard_state import ShardState
from models.training.feedback_exemptions import Labels, learn_exemptions
from models.training.fit import fit_detector, fit_prior

LABELS, TREES = 200, 300
PER_DAY = int(86_400 / CADENCE)
MODE_STATIONS, STARTS_A_DAY, MODE_TICKS, MODE_SIGMA = 10, 2, (10, 20), 5.0
LABELLED_DAYS = 7  # from the first to this one people watch; the days behind are judged
NOISE = 2


def measure(seeds: tuple[int, ...] = (51, 52, 53, 54)) -> dict[str, Any]:
    """Return flags on the benign mode and recall on faults, with and without feedback, over some plants."""
    found = [scenario(seed) for seed in seeds]
    total = {name: sum(one[name] for one in found) for name in found[0]}
    flags = total["mode_flags_before"], total["mode_flags_after"]
    recall = total["found_before"] / total["faults"], total["found_after"] / total["faults"]
    return {
        "feedback_labels_a_plant": LABELS,
        "mode_readings": total["mode_readings"],
        "mode_flags_before": flags[0],
        "mode_flags_after": flags[1],
        "mode_flags_fewer": 1.0 - flags[1] / flags[0],
        "faults": total["faults"],
        "recall_before": recall[0],
        "recall_after": recall[1],
        "recall_points_lost": 100.0 * (recall[0] - recall[1]),
        "false_alarms_before": total["false_alarms_before"],
        "false_alarms_after": total["false_alarms_after"],
        "looks": total["looks"] / len(seeds),
    }


def scenario(seed: int) -> dict[str, float]:
    """One plant."""
    plant = faulty_plant(seed, "plain")
    history, touched = with_mode(plant.history, seed)
    mode = touched & ~near_faults(plant)
    ticks = np.repeat(np.arange(DAYS * PER_DAY), STATIONS)
    training = ticks < TRAINING_DAYS * PER_DAY
    learnt = part_of(plant.history, training)  # the machine is new: the first version has not seen it
    prior = fit_prior(learnt, DEFAULT_SENSORS, 1.0)
    rng = np.random.default_rng(seed)
    forest, spec = fit_detector(learnt, DEFAULT_SENSORS, prior, trees=TREES, budget=1.0, rng=rng)
    packed = PackedForest.from_sklearn(forest, FEATURES)
    samples = all_of(history, ShardState(DEFAULT_SENSORS, prior), Detector(spec, packed))
    flagged = (samples.flags & 1) != 0
    # Readings that a fault bends as well belong to the fault; nobody calls them benign.
    asked = np.flatnonzero(flagged & mode & (ticks >= TRAINING_DAYS * PER_DAY) & (ticks < LABELLED_DAYS * PER_DAY))
    asked = np.sort(rng.choice(asked, min(LABELS, len(asked)), replace=False))
    chosen = samples.take(asked)
    labels = Labels(chosen.station_ids, chosen.event_ms, [FALSE_POSITIVE] * len(chosen), chosen.flags, chosen.blocks)
    exemptions = learn_exemptions(labels)
    after = Detector(spec.exempting(exemptions), packed).judge(samples.blocks, samples.station_ids)
    judged = ticks >= LABELLED_DAYS * PER_DAY
    before_outcome, after_outcome = (
        evaluate(
            Scored(history.codes(), history.event_ms, after.score, said & ~touched, judged & ~touched),
            plant.labels,
            cadence=CADENCE,
        )
        for said in (flagged, after.is_anomaly)
    )
    return {
        "labels": len(asked),
        "looks": len(exemptions.stations) if exemptions else 0,
        "mode_readings": int((mode & judged).sum()),
        "mode_flags_before": int((flagged & mode & judged).sum()),
        "mode_flags_after": int((after.is_anomaly & mode & judged).sum()),
        "faults": len(before_outcome.labels),
        "found_before": int(before_outcome.found.sum()),
        "found_after": int(after_outcome.found.sum()),
        "false_alarms_before": before_outcome.false_alarms,
        "false_alarms_after": after_outcome.false_alarms,
    }


def with_mode(history: History, seed: int) -> tuple[History, np.ndarray]:
    """Let the machine start beside the first stations; return the readings and which of them it touches."""
    rng = np.random.default_rng([seed, 9])
    values = history.values.reshape(-1, STATIONS, len(DEFAULT_SENSORS)).copy()
    sigma = np.nanstd(values[: TRAINING_DAYS * PER_DAY], axis=0)
    touched = np.zeros(values.shape[:2], bool)
    for station in range(MODE_STATIONS):
        for day in range(TRAINING_DAYS, DAYS):
            for start in rng.integers(0, PER_DAY - MODE_TICKS[1], STARTS_A_DAY):
                begin, length = day * PER_DAY + int(start), int(rng.integers(*MODE_TICKS))
                size = MODE_SIGMA + rng.normal(0.0, 0.3)
                values[begin : begin + length, station, NOISE] += size * sigma[station, NOISE]
                touched[begin : begin + length, station] = True
    changed = History(
        history.station_ids, history.event_ms, history.record_ms, history.seq, values.reshape(-1, values.shape[2])
    )
    return changed, touched.ravel()


def near_faults(plant: Plant) -> np.ndarray:
    """Readings of a fault or within the margin behind one, (n,) bool."""
    codes, event_ms, near = plant.history.codes(), plant.history.event_ms, np.zeros(len(plant.history), bool)
    labels = plant.labels
    for station, start_ms, end_ms in zip(labels.station, labels.start_ms, labels.end_ms, strict=True):
        near |= (codes == station) & (event_ms >= start_ms) & (event_ms < end_ms + MARGIN * CADENCE * 1000)
    return near


def part_of(history: History, rows: np.ndarray) -> History:
    """The chosen readings."""
    names = [name for name, use in zip(history.station_ids, rows.tolist(), strict=True) if use]
    return History(names, history.event_ms[rows], history.record_ms[rows], history.seq[rows], history.values[rows])


def all_of(history: History, state: ShardState, detector: Detector) -> Samples:
    """Every reading with its block and flags."""
    rows, flags = [], []
    for part in history.parts():
        step = state.take(part)
        if not (step.outcome == ACCEPTED).all():
            raise ValueError("a reading of the scenario was not accepted")
        rows.append(step.blocks)
        flags.append(detector.judge(step.blocks).flags)
    blocks = type(rows[0])(rows[0].sensors, np.concatenate([one.rows for one in rows]))
    return Samples(history.station_ids, history.event_ms, np.concatenate(flags), blocks)
