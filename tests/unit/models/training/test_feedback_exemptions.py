"""What people call false alarms fires no more, where and as it was; everything else does."""

from __future__ import annotations

import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ArtefactRefused
from core.feedback import precision_of
from core.sensors import DEFAULT_SENSORS
from core.verdict import Flag
from models.scoring.detector import Detector, Spec
from models.scoring.exemptions import Exemptions
from models.scoring.feature_block import COMMON, PER_SENSOR, SENSOR_WIDTH, WITNESSES, Blocks, block_width
from models.scoring.features import FEATURES
from models.scoring.isolation_forest import PackedForest
from models.scoring.rules import GAP, IMPLAUSIBLE
from models.training.feedback_exemptions import Labels, learn_exemptions
from models.training.fit import fit_detector, fit_prior
from tests.unit.models.histories import make_history

NAMES = tuple(sensor.name for sensor in DEFAULT_SENSORS)
HOUR_MS = 3_600_000
BAND, NOISE = "band_12", 2
MODE = {(NOISE, "innovation"): 2.0, (NOISE, BAND): 3.0}


@pytest.fixture(scope="module")
def detector() -> Detector:
    history = make_history(np.random.default_rng(1), stations=3, readings=300)
    prior = fit_prior(history, DEFAULT_SENSORS, 1.0)
    rng = np.random.default_rng(7)
    forest, spec = fit_detector(history, DEFAULT_SENSORS, prior, trees=20, budget=1.0, rng=rng)
    return Detector(spec, PackedForest.from_sklearn(forest, FEATURES))


def readings(*looks: dict[tuple[int, str], float]) -> Blocks:
    """Blocks of settled stations on which these witnesses stand at so many of their limits, and all others are calm."""
    rows = np.zeros((len(looks), block_width(len(NAMES))), np.float32)
    blocks = Blocks(NAMES, rows)
    blocks.common("gap_limit")[:] = np.inf
    for column, value in (("run_limit", np.inf), ("missing_limit", np.inf), ("weight", 0.99), ("spread", 1.0)):
        blocks.per_sensor(column)[:] = value
    start = len(COMMON) + len(PER_SENSOR)
    for sensor in range(len(NAMES)):
        for witness in range(len(WITNESSES)):
            rows[:, start + sensor * SENSOR_WIDTH + 2 * witness + 1] = 1.0
    for row, look in enumerate(looks):
        for (sensor, witness), ratio in look.items():
            rows[row, start + sensor * SENSOR_WIDTH + 2 * WITNESSES.index(witness)] = ratio
    return blocks


def scaled(look: dict[tuple[int, str], float], factor: float) -> dict[tuple[int, str], float]:
    return {key: factor * ratio for key, ratio in look.items()}


def labels(looks: list[dict[tuple[int, str], float]], verdict: str = "false_positive", station: str = "s1") -> Labels:
    n = len(looks)
    times = np.arange(n, dtype=np.int64) * 2 * HOUR_MS
    return Labels([station] * n, times, [verdict] * n, np.full(n, Flag.ANOMALY, np.int32), readings(*looks))


def with_feedback(detector: Detector, said: Labels) -> Detector:
    return Detector(Spec.from_json(detector.spec.exempting(learn_exemptions(said)).to_json()), detector.forest)


FALSE = [scaled(MODE, factor) for factor in (0.9, 1.0, 1.1, 1.05)]


@pytest.mark.parametrize(
    ("look", "station", "flagged"),
    [
        (MODE, "s1", False),
        (scaled(MODE, 1.2), "s1", False),
        (scaled(MODE, 0.8), "s1", False),
        (MODE, "s2", True),
        (scaled(MODE, 4.0), "s1", True),
        (scaled(MODE, -1.0), "s1", True),
        (MODE | {(0, "innovation"): 1.5}, "s1", True),
        (MODE | {(NOISE, "level_48"): 1.5}, "s1", True),
        ({(0, "innovation"): 2.0, (0, BAND): 3.0}, "s1", True),
    ],
)
def test_what_looks_the_same_at_the_same_station_fires_no_more(
    detector: Detector, look: dict[tuple[int, str], float], station: str, flagged: bool
) -> None:
    """Breaks when an exemption reaches another station, sensor, direction, witness or size; or does not hold at all."""
    after = with_feedback(detector, labels(FALSE))
    assert detector.judge(readings(look), [station]).is_anomaly.all()
    verdicts = after.judge(readings(look), [station])
    assert bool(verdicts.is_anomaly[0]) == flagged
    assert bool(verdicts.flags[0] & Flag.EXEMPT) == (not flagged)
    assert (verdicts.severity[0] > 0) == flagged
    assert verdicts.score[0] == detector.judge(readings(look)).score[0], "the score says how far out it is, as before"
    assert after.judge(readings(look)).is_anomaly.all(), "nothing is exempt where no station is known"


def test_a_rule_that_did_not_fire_in_the_false_alarms_still_does(detector: Detector) -> None:
    """Breaks when a missing or impossible value hides behind an exemption."""
    after = with_feedback(detector, labels(FALSE))
    stuck, implausible, gap = readings(MODE), readings(MODE), readings(MODE)
    stuck.per_sensor("run_limit")[:], stuck.per_sensor("run")[:] = 10, 11
    implausible.per_sensor("quality")[:, 0] = 2
    gap.common("gap_limit")[:], gap.common("elapsed")[:] = 10, 11
    for blocks in (stuck, implausible, gap):
        assert after.judge(blocks, ["s1"]).is_anomaly.all()
    said = labels(FALSE)
    both = replace(said, flags=said.flags | GAP.bit | IMPLAUSIBLE.bit)
    assert learn_exemptions(both) is None, "an impossible value is never benign"
    allowed = with_feedback(detector, replace(said, flags=said.flags | GAP.bit))
    assert not allowed.judge(gap, ["s1"]).is_anomaly.any()
    assert allowed.judge(stuck, ["s1"]).is_anomaly.all()


def test_a_slip_of_the_hand_exempts_nothing() -> None:
    """Breaks when one label, labels that agree with no other, or confirmed anomalies exempt."""
    assert learn_exemptions(labels([])) is None
    assert learn_exemptions(labels([MODE])) is None
    assert learn_exemptions(labels([MODE, {(0, "innovation"): 5.0}, {(1, BAND): -4.0}])) is None
    assert learn_exemptions(labels(FALSE, "true_positive")) is None
    assert learn_exemptions(labels(FALSE, "expected")) is None


def test_a_confirmed_anomaly_keeps_exemptions_away(detector: Detector) -> None:
    """Breaks when what people confirmed is exempt because it resembles what they did not."""
    false, true = labels(FALSE), labels([scaled(MODE, 1.25)], "true_positive")
    both = Labels(
        [*false.station_ids, *true.station_ids],
        np.concatenate([false.event_ms, true.event_ms + HOUR_MS]),
        [*false.verdicts, *true.verdicts],
        np.concatenate([false.flags, true.flags]),
        Blocks(NAMES, np.concatenate([false.blocks.rows, true.blocks.rows])),
    )
    assert not with_feedback(detector, false).judge(readings(scaled(MODE, 1.25)), ["s1"]).is_anomaly.any()
    after = with_feedback(detector, both)
    assert after.judge(readings(scaled(MODE, 1.25)), ["s1"]).is_anomaly.all()
    assert not after.judge(readings(MODE), ["s1"]).is_anomaly.any()


def test_exemptions_are_bounded_and_travel_with_the_version(detector: Detector) -> None:
    """Breaks when a year of feedback makes a version too large, or an older release would judge without them."""
    rng = np.random.default_rng(3)
    many = [scaled(MODE, factor) | {(0, BAND): ratio} for factor, ratio in rng.uniform(0.9, 9.0, (3000, 2))]
    found = learn_exemptions(labels(many))
    assert found is not None
    assert len(found.stations) <= 512
    spec = detector.spec.exempting(found)
    assert Spec.from_json(spec.to_json()) == spec
    assert (spec.format, spec.exempting(None)) == ("stationwatch-detector-3", detector.spec)
    assert Detector.from_bytes(Detector(spec, detector.forest).to_bytes()).spec == spec
    short = msgspec.structs.replace(found, looks=found.looks[:-2])
    uneven = msgspec.structs.replace(found, radius=found.radius[1:])
    for bad in (
        detector.spec.exempting(short),
        detector.spec.exempting(uneven),
        msgspec.structs.replace(spec, format="stationwatch-detector-2"),
        msgspec.structs.replace(detector.spec, format="stationwatch-detector-3"),
    ):
        with pytest.raises(ArtefactRefused):
            Spec.from_json(bad.to_json())


def test_a_sensor_added_later_still_fires() -> None:
    """Breaks when an exemption learnt without a sensor silences it."""
    found = learn_exemptions(labels(FALSE))
    assert found is not None
    one = readings(MODE)
    wider = Blocks((*NAMES, "pressure"), np.concatenate([one.rows, one.rows[:, -SENSOR_WIDTH:]], axis=1))
    no_rules = np.zeros(1, np.int64)
    assert not found.covers(wider, ["s1"], no_rules).any(), "the added sensor fires"
    wider.rows[:, -SENSOR_WIDTH:] = readings({}).rows[:, -SENSOR_WIDTH:]
    assert found.covers(wider, ["s1"], no_rules).all()
    assert not found.covers(one.of_sensors(NAMES[:2]), ["s1"], no_rules).any(), (
        "a look that lacks its sensor says nothing"
    )
    assert isinstance(found, Exemptions)


@given(st.integers(0, 500), st.integers(0, 500))
def test_the_interval_of_the_precision_holds_it(true: int, false: int) -> None:
    """Breaks when the interval leaves [0, 1], loses the share, or is no interval without labels."""
    found = precision_of(true, false)
    assert 0.0 <= found.low <= found.high <= 1.0
    if true + false == 0:
        assert (math.isnan(found.precision), found.low, found.high) == (True, 0.0, 1.0)
    else:
        assert found.low - 1e-12 <= found.precision == true / (true + false) <= found.high + 1e-12


def test_the_interval_is_wilson_s() -> None:
    """Breaks when the interval is another one. Source: scipy.stats.binomtest(8, 10).proportion_ci(method="wilson")."""
    from scipy.stats import binomtest

    found, known = precision_of(8, 2), binomtest(8, 10).proportion_ci(method="wilson")
    assert (found.low, found.high) == (pytest.approx(known.low, abs=1e-6), pytest.approx(known.high, abs=1e-6))
