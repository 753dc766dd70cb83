"""When a retraining is filed without anybody asking. Pure; the retrainer process asks after each drift check."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from core.errors import SettingsError
from core.settings import PREFIX, Settings
from models.drift.report import DriftReport

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY = f"({'|'.join(DAYS)})"
_PART = re.compile(rf"(?:{_DAY}(?:-{_DAY})? )?([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")
_MINUTES = 24 * 60


@dataclass(frozen=True)
class Freeze:
    """UTC times of the week in which nothing is filed: minutes since Monday 00:00, half-open."""

    spans: tuple[tuple[int, int], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Freeze:
        """Read `Sat-Sun 00:00-24:00, 22:00-06:00`; a span may go over midnight, one without a day is of every day.

        Raises:
            SettingsError: anything else.
        """
        spans: list[tuple[int, int]] = []
        for part in filter(None, (piece.strip() for piece in text.split(","))):
            match = _PART.fullmatch(part)
            if match is None or (match[5] == "24" and match[6] != "00"):
                raise SettingsError(
                    f"{PREFIX}RETRAIN_FREEZE: {part!r} is no span of time; expected such as Sat-Sun 00:00-24:00 or "
                    "22:00-06:00, in UTC, several with commas between"
                )
            spans += _spans(*match.groups())
        return cls(tuple(spans))

    def holds(self, now_ms: int) -> bool:
        """Whether it is frozen at this moment."""
        now = datetime.fromtimestamp(now_ms / 1000, UTC)
        minute = now.weekday() * _MINUTES + now.hour * 60 + now.minute
        week = 7 * _MINUTES
        return any(start <= minute < end or start <= minute + week < end for start, end in self.spans)


def _spans(first: str | None, last: str | None, *clock: str) -> list[tuple[int, int]]:
    start, end = int(clock[0]) * 60 + int(clock[1]), int(clock[2]) * 60 + int(clock[3])
    if end <= start:
        end += _MINUTES
    begin = DAYS.index(first) if first else 0
    days = (DAYS.index(last or first) - begin) % 7 + 1 if first else 7
    return [((begin + day) * _MINUTES + start, (begin + day) * _MINUTES + end) for day in range(days)]


@dataclass(frozen=True)
class Policy:
    """The settings of the policy.

    Args:
        automatic: whether it files anything at all.
        every_ms: after this long without a retraining one is due; 0 is never.
        cooldown_ms: after a retraining, successful or not, none is filed for so long.
        freeze: times in which none is filed.
    """

    automatic: bool = False
    every_ms: int = 0
    cooldown_ms: int = 0
    freeze: Freeze = Freeze()

    @classmethod
    def from_settings(cls, settings: Settings) -> Policy:
        """Read the settings.

        Raises:
            SettingsError: RETRAIN_FREEZE makes no sense.
        """
        return cls(
            settings.retrain_automatically,
            int(settings.retrain_every_days * 86_400_000),
            int(settings.retrain_cooldown_hours * 3_600_000),
            Freeze.parse(settings.retrain_freeze),
        )


@dataclass(frozen=True)
class Decision:
    """What the policy says.

    Args:
        action: `file` a retraining; `hold` one back that would be due; `nothing` is due.
        trigger: `drift` or `schedule`, None when nothing is due.
        reason: for people.
    """

    action: Literal["file", "hold", "nothing"]
    trigger: Literal["drift", "schedule"] | None
    reason: str


def decide(
    policy: Policy, *, now_ms: int, report: DriftReport | None, last_retraining_ms: int | None, busy: str | None
) -> Decision:
    """Decide whether a retraining is filed now.

    Args:
        policy: the settings.
        now_ms: ms since the epoch.
        report: of the drift check just made.
        last_retraining_ms: when the last retraining was filed, or when the champion was trained; None is never.
        busy: the id of a job that is under way.
    """
    due = _due(policy, now_ms, report, last_retraining_ms)
    if due is None:
        return Decision("nothing", None, "neither drift that lasts nor the schedule asks for a retraining")
    trigger, why = due
    held = _held_back(policy, now_ms, last_retraining_ms, busy)
    if held is not None:
        return Decision("hold", trigger, f"{why} No retraining was filed: {held}")
    return Decision("file", trigger, why)


def _due(
    policy: Policy, now_ms: int, report: DriftReport | None, last_ms: int | None
) -> tuple[Literal["drift", "schedule"], str] | None:
    if report is not None and report.answer == "drift":
        return "drift", report.sentence
    if policy.every_ms and (last_ms is None or now_ms - last_ms >= policy.every_ms):
        return "schedule", f"The last retraining is {policy.every_ms / 86_400_000:g} days or more ago."
    return None


def _held_back(policy: Policy, now_ms: int, last_ms: int | None, busy: str | None) -> str | None:
    if not policy.automatic:
        return "RETRAIN_AUTOMATICALLY is off."
    if busy is not None:
        return f"job {busy} is under way."
    if policy.freeze.holds(now_ms):
        return "it is a time of RETRAIN_FREEZE."
    # Without a cool-down a clock that runs behind the registry's holds nothing back.
    if policy.cooldown_ms and last_ms is not None and now_ms - last_ms < policy.cooldown_ms:
        left = (policy.cooldown_ms - (now_ms - last_ms)) / 3_600_000
        return f"the last one is too recent, {left:.1f} of {policy.cooldown_ms / 3_600_000:g} hours are left."
    return None
