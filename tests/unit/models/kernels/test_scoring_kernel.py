"""The compiled passes over blocks say what the formulas say, written once more by columns."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest

from core.verdict import Flag
from models.scoring.detector import Detector, Spec
from models.scoring.feature_block import COMMON, PER_SENSOR, PER_WITNESS, SENSOR_WIDTH, WITNESSES, Blocks, block_width
from models.scoring.features import FAR, FEATURES, Reference, features
from models.scoring.isolation_forest import PackedForest
from models.scoring.rules import GAP, IMPLAUSIBLE, MISSING, STUCK

SENSORS = ("temperature", "humidity", "noise")
N = 3000


def drawn_blocks(rng: np.random.Generator) -> Blocks:
    """Blocks with anything that may stand in their columns."""
    rows = rng.normal(0.0, 0.2, (N, block_width(len(SENSORS)))).astype(np.float32)
    common = {"late": (0, 1), "elapsed": (1, 5, 500), "gap_limit": (10, 100), "lasting": (0.1, 0.7, 3.0)}
    per_sensor = {
        "value": (np.nan, 21.5, -3.0), "quality": (0, 0, 0, 1, 2), "weight": (0.0, 0.3, 0.499, 0.5, 0.9),
        "run": (0, 1, 7, 9), "run_limit": (8,), "missing_run": (0, 0, 3, 9), "missing_limit": (3, 5),
    }  # fmt: skip
    for name, values in common.items():
        rows[:, COMMON.index(name)] = rng.choice(values, N)
    for sensor in range(len(SENSORS)):
        start = len(COMMON) + sensor * SENSOR_WIDTH
        for name, values in per_sensor.items():
            rows[:, start + PER_SENSOR.index(name)] = rng.choice(values, N)
        h = start + len(PER_SENSOR) + PER_WITNESS.index("h")
        rows[:, h : start + SENSOR_WIDTH : len(PER_WITNESS)] = rng.choice([1.0, 1.0, 1.5, 8.0], (N, len(WITNESSES)))
    return Blocks(SENSORS, rows)


@pytest.fixture(scope="module")
def blocks() -> Blocks:
    return drawn_blocks(np.random.default_rng(7))


@pytest.mark.parametrize("known", [SENSORS, ("noise", "temperature")])
def test_features_are_the_largest_ratio_over_the_sensors(blocks: Blocks, known: tuple[str, ...]) -> None:
    reference = Reference(known, np.array([20.0, 50.0, 60.0])[: len(known)], np.array([2.0, 3.0, 4.0])[: len(known)])
    pooled = np.zeros((N, len(SENSORS)))
    for place, name in enumerate(SENSORS):
        if name in known:
            at = known.index(name)
            value = blocks.per_sensor("value")[:, place].astype(np.float64)
            pooled[:, place] = np.nan_to_num((value - reference.centre[at]) / reference.reach[at], nan=0.0)
    ratio, weight = blocks.witnesses("ratio").astype(np.float64), blocks.per_sensor("weight").astype(np.float64)
    level = WITNESSES.index("level")
    ratio[:, :, level] = weight * ratio[:, :, level] + (1.0 - weight) * pooled
    largest = (np.abs(ratio) / blocks.witnesses("h")).max(axis=1)
    expected = np.minimum(np.column_stack([largest, blocks.common("lasting")]), FAR)
    np.testing.assert_array_equal(features(blocks, reference), expected)
    assert (expected == FAR).any()


@pytest.mark.parametrize("factors", [{}, {"level:noise": 1.7, "noise:temperature": 0.8}])
def test_verdicts_follow_from_witnesses_rules_and_forest(blocks: Blocks, factors: dict[str, float]) -> None:
    spec = Spec(SENSORS, (20.0, 50.0, 60.0), (2.0, 3.0, 4.0), 0.4, 0.6, 1.0, factors)
    learnt = np.abs(np.random.default_rng(1).normal(0.0, 1.0, (500, len(FEATURES))))
    forest = PackedForest.from_sklearn(IsolationForest(n_estimators=20, random_state=1).fit(learnt), FEATURES)
    detector = Detector(spec, forest)
    found = detector.judge(blocks)
    size = detector.witness_ratios(blocks)
    quality, run, missing_run = (blocks.per_sensor(name) for name in ("quality", "run", "missing_run"))
    limits = blocks.per_sensor("run_limit"), blocks.per_sensor("missing_limit")
    flags: dict[int, np.ndarray] = {
        IMPLAUSIBLE.bit: (quality == 2).any(axis=1), STUCK.bit: (run > limits[0]).any(axis=1),
        MISSING.bit: (missing_run > limits[1]).any(axis=1),
        GAP.bit: blocks.common("elapsed") > blocks.common("gap_limit"),
        Flag.INCOMPLETE: (quality == 1).any(axis=1), Flag.LATE: blocks.common("late") > 0,
        Flag.WARMING_UP: blocks.per_sensor("weight").max(axis=1) < 0.5,
    }  # fmt: skip
    broken = flags[IMPLAUSIBLE.bit] | flags[STUCK.bit] | flags[MISSING.bit] | flags[GAP.bit]
    beyond = (size > blocks.witnesses("h")).any(axis=(1, 2)) | (found.forest > spec.forest_threshold)
    flags[Flag.ANOMALY] = beyond | broken
    for flag, where in flags.items():
        np.testing.assert_array_equal((found.flags & flag) != 0, where, str(flag))
        assert 0 < where.sum() < N
    ratio = np.maximum(size.max(axis=(1, 2)), blocks.common("lasting"))
    ratio = np.maximum(ratio, detector.forest_ratio(found.forest))
    near = np.maximum(run / limits[0], missing_run / (limits[1] + 1.0)).max(axis=1)
    ratio = np.maximum(ratio, np.minimum(near, 1.0))
    for flag, least in ((IMPLAUSIBLE.bit, 5.0), (STUCK.bit, 2.0), (MISSING.bit, 2.0), (GAP.bit, 1.5)):
        ratio = np.where(flags[flag], np.maximum(ratio, least), ratio)
    expected = np.where(ratio > 1.0, 1.0 + np.log(np.maximum(ratio, 1.0)), ratio)
    np.testing.assert_allclose(found.score, expected, rtol=1e-15)
    np.testing.assert_array_equal(found.severity > 0, flags[Flag.ANOMALY] & (ratio > 1.0))
