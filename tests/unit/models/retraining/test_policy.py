"""When a retraining is filed without anybody asking."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from core.errors import SettingsError
from models.drift.report import DriftReport, conclusion
from models.retraining.policy import Decision, Freeze, Policy, decide

HOUR_MS = 3_600_000
NOW_MS = int(datetime(2026, 11, 25, 12, 0, tzinfo=UTC).timestamp() * 1000)  # a Wednesday
ON = Policy(automatic=True, every_ms=7 * 24 * HOUR_MS, cooldown_ms=24 * HOUR_MS)


def report(answer: str) -> DriftReport:
    made = conclusion([], version=1, checked_ms=NOW_MS, least=1, facts=None)
    made.answer, made.sentence = answer, "Away from the training."  # type: ignore[assignment]
    return made


def decided(
    policy: Policy = ON, answer: str | None = "drift", ago_hours: float | None = 100, busy: str | None = None
) -> Decision:
    last = None if ago_hours is None else NOW_MS - int(ago_hours * HOUR_MS)
    return decide(policy, now_ms=NOW_MS, report=report(answer) if answer else None, last_retraining_ms=last, busy=busy)


def test_drift_and_the_schedule_file_a_job_and_nothing_else_does() -> None:
    """Breaks when lasting drift or an old model is not acted on, or an unsure check is."""
    assert decided() == Decision("file", "drift", "Away from the training.")
    assert decided(answer="no_drift").action == "nothing"
    assert decided(answer="insufficient_data").action == "nothing"
    assert decided(answer=None).action == "nothing"
    assert (decided(answer="no_drift", ago_hours=200).action, decided(answer="no_drift", ago_hours=200).trigger) == (
        "file",
        "schedule",
    )
    assert decided(Policy(automatic=True), answer="no_drift", ago_hours=10_000).action == "nothing"
    assert decided(answer="no_drift", ago_hours=None).trigger == "schedule"


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (decided(Policy(automatic=False)), "RETRAIN_AUTOMATICALLY is off"),
        (decided(ago_hours=23), "1.0 of 24 hours are left"),
        (decided(busy="abc"), "job abc is under way"),
        (decided(Policy(automatic=True, freeze=Freeze.parse("Wed 11:00-13:00"))), "RETRAIN_FREEZE"),
    ],
)
def test_what_is_held_back_says_why(held: Decision, said: str) -> None:
    """Breaks when the policy acts although it is off, too soon, beside another job or in a freeze; or in silence."""
    assert (held.action, held.trigger) == ("hold", "drift")
    assert said in held.reason
    assert held.reason.startswith("Away from the training.")


@pytest.mark.parametrize(
    ("text", "day", "hour", "frozen"),
    [
        ("", 25, 12, False),
        ("06:00-08:00", 25, 7, True),
        ("06:00-08:00", 25, 8, False),
        ("22:00-06:00", 25, 23, True),
        ("22:00-06:00", 25, 5, True),
        ("22:00-06:00", 25, 6, False),
        ("Sat-Sun 00:00-24:00", 29, 23, True),
        ("Sat-Sun 00:00-24:00", 30, 0, False),
        ("Sat-Mon 00:00-24:00", 30, 0, True),
        ("Sun 22:00-02:00", 30, 1, True),  # over the turn of the week
        ("Sun 22:00-02:00", 23, 1, True),
        ("Mon 00:00-01:00, Wed 12:00-13:00", 25, 12, True),
    ],
)
def test_a_freeze_holds_when_it_says(text: str, day: int, hour: int, frozen: bool) -> None:
    """Breaks when a span over midnight, over Sunday or over a named day's end is read wrongly."""
    moment = datetime(2026, 11, day, hour, 0, tzinfo=UTC)
    assert Freeze.parse(text).holds(int(moment.timestamp() * 1000)) == frozen


@pytest.mark.parametrize("text", ["always", "25:00-26:00", "Sat", "sat 00:00-01:00", "06:00", "22:00-24:30"])
def test_a_freeze_that_makes_no_sense_is_refused(text: str) -> None:
    """Breaks when a mistyped freeze is no freeze."""
    with pytest.raises(SettingsError, match="RETRAIN_FREEZE"):
        Freeze.parse(text)
