"""A challenger passes the gates only when it is as good as the champion; each way of being worse is refused by name."""

from __future__ import annotations

import itertools
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from core.sensors import DEFAULT_SENSORS
from models.evaluation.fault_injection import LENGTHS, MAGNITUDES, inject
from models.evaluation.fault_models import KINDS
from models.retraining.gates import Exam, GateReport, Limits, judge_challenger
from models.scoring.detector import Detector
from models.scoring.feature_block import WITNESSES
from models.scoring.features import FEATURES
from models.scoring.history import History
from models.scoring.isolation_forest import PackedForest
from models.scoring.station_prior import Prior
from models.training.fit import fit_detector, fit_prior
from tests.unit.models.histories import make_history

BUDGET = 1.0


def fitted(history: History, prior: Prior, seed: int, trees: int = 60) -> Detector:
    rng = np.random.default_rng(seed)
    forest, spec = fit_detector(history, DEFAULT_SENSORS, prior, trees=trees, budget=BUDGET, rng=rng)
    return Detector(spec, PackedForest.from_sklearn(forest, FEATURES))


@pytest.fixture(scope="module")
def training() -> History:
    return make_history(np.random.default_rng(1), stations=8, readings=1200)


@pytest.fixture(scope="module")
def prior(training: History) -> Prior:
    return fit_prior(training, DEFAULT_SENSORS, BUDGET)


@pytest.fixture(scope="module")
def champion(training: History, prior: Prior) -> Detector:
    return fitted(training, prior, 1)


@pytest.fixture(scope="module")
def exam(prior: Prior) -> Exam:
    return Exam(make_history(np.random.default_rng(2), stations=8, readings=1500), DEFAULT_SENSORS, prior)


def asked(champion: Detector, challenger: Detector, exam: Exam, **more: object) -> GateReport:
    # A clock that counts its calls: every judging takes the same time, whatever else the machine does.
    steps = itertools.count()
    return judge_challenger(champion, challenger, exam, seed=3, clock=lambda: float(next(steps)), **more)  # type: ignore[arg-type]


def gate(report: GateReport, name: str) -> dict[str, object]:
    return next(msgspec.to_builtins(one) for one in report.gates if one.name == name)


def test_an_equal_challenger_passes_and_every_figure_is_said(
    champion: Detector, training: History, prior: Prior, exam: Exam
) -> None:
    """Breaks when a gate refuses another draw of the same training, or the report leaves a figure out."""
    report = asked(champion, fitted(training, prior, 2), exam)
    assert report.passed, report.reason
    assert [one.name for one in report.gates] == ["features", "sanity", "false_alarms", "recall", "cost"]
    shown = msgspec.json.decode(report.to_json())
    assert shown["passed"] is True and shown["readings"] == len(exam.history)
    recall = gate(report, "recall")["figures"]
    assert set(recall) == {*KINDS, *(f"champion_{kind}" for kind in KINDS)}
    assert recall["stuck"] > 0.9 and recall["dropout"] > 0.9


def test_a_challenger_that_flags_everything_is_refused(champion: Detector, exam: Exam) -> None:
    """Breaks when false alarms are not held against the budget."""
    spec = msgspec.structs.replace(champion.spec, forest_threshold=champion.spec.forest_typical + 1e-6)
    report = asked(champion, Detector(spec, champion.forest), exam)
    assert not report.passed
    assert not gate(report, "sanity")["passed"] and not gate(report, "false_alarms")["passed"]
    assert "flagged" in report.reason and "budget" in report.reason


def test_a_challenger_that_flags_nothing_by_itself_is_refused(champion: Detector, exam: Exam) -> None:
    """Breaks when lost recall is not noticed: every witness is held a thousand times off its limit here."""
    factors = {f"{witness}:{sensor}": 1e3 for witness in WITNESSES for sensor in champion.spec.sensors}
    spec = msgspec.structs.replace(champion.spec, factors=factors, forest_threshold=1.0)
    report = asked(champion, Detector(spec, champion.forest), exam)
    recall = gate(report, "recall")
    assert not report.passed and not recall["passed"]
    assert recall["figures"]["shift"] < recall["figures"]["champion_shift"] - 0.3
    # Rules do not ask a version.
    assert recall["figures"]["dropout"] == recall["figures"]["champion_dropout"] > 0.9


def test_a_challenger_of_other_sensors_is_refused_before_it_judges(champion: Detector, exam: Exam) -> None:
    """Breaks when a version that lost a sensor may judge."""
    spec = replace_sensors(champion)
    report = asked(champion, Detector(spec, champion.forest), exam)
    assert [one.name for one in report.gates] == ["features"] and not report.passed
    assert "noise" in report.reason


def replace_sensors(champion: Detector) -> object:
    spec = champion.spec
    return msgspec.structs.replace(spec, sensors=spec.sensors[:2], centre=spec.centre[:2], reach=spec.reach[:2])


def test_a_slower_challenger_is_refused(champion: Detector, exam: Exam) -> None:
    """Breaks when the cost is not compared."""
    spent = itertools.cycle([0.0, 1.0, 2.0, 4.0])
    offset, last = 0.0, 0.0

    def clock() -> float:
        nonlocal offset, last
        now = next(spent)
        offset += 4.0 if now < last else 0.0
        last = now
        return offset + now

    report = judge_challenger(champion, champion, exam, seed=3, clock=clock)
    assert gate(report, "cost")["figures"]["ratio"] == pytest.approx(2.0)
    assert not report.passed


def test_too_little_history_is_a_refusal_with_a_number(champion: Detector, exam: Exam) -> None:
    """Breaks when a version is let through unexamined."""
    short = replace(exam, history=next(exam.history.parts(300)))
    report = asked(champion, champion, short)
    assert not report.passed and "300 recent normal readings" in report.reason
    few = asked(champion, champion, exam, limits=Limits(least_faults=10_000))
    assert not few.passed and "longer stretches" in few.reason


def test_confirmed_anomalies_do_not_count_as_normal(champion: Detector, exam: Exam) -> None:
    """Breaks when flags on what people called anomalies count as false alarms."""
    everywhere = replace(exam, confirmed=np.ones(len(exam.history), bool))
    partly = np.zeros(len(exam.history), bool)
    partly[np.array(exam.history.station_ids) == "s0"] = True
    days = [
        gate(asked(champion, champion, one), "false_alarms")["figures"]["station_days"]
        for one in (exam, replace(exam, confirmed=partly))
    ]
    assert days[1] == pytest.approx(days[0] * 7 / 8, rel=0.02)
    nothing = asked(champion, champion, everywhere)
    assert not nothing.passed and "0 recent normal readings" in nothing.reason


def test_injected_faults_are_where_their_labels_say(exam: Exam) -> None:
    """Breaks when a label names other rows than were bent, or a reading beside a fault changes."""
    injected = inject(exam.history, np.random.default_rng(4))
    codes, labels = exam.history.codes(), injected.labels
    inside = np.zeros(len(codes), bool)
    for number in range(len(labels)):
        rows = codes == labels.station[number]
        times = exam.history.event_ms
        span = rows & (times >= labels.start_ms[number]) & (times < labels.end_ms[number])
        assert span.sum() == LENGTHS[labels.kind[number]] and not (span & inside).any()
        inside |= span
    changed = (injected.history.values != exam.history.values).any(axis=1)
    assert not (changed & ~inside).any() and changed[inside].mean() > 0.9
    assert set(labels.magnitude) == set(MAGNITUDES)
    assert injected.judged[inside].all()
