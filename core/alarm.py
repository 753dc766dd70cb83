"""What people may do with an alarm, and what state follows from what they did: pure, one definition for all rooms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from core.errors import StationwatchError

State = Literal["active", "acknowledged", "shelved", "cleared"]
Action = Literal["acknowledge", "shelve", "clear"]

STATES: Final[tuple[State, ...]] = ("active", "acknowledged", "shelved", "cleared")
OPEN_STATES: Final[tuple[State, ...]] = ("active", "acknowledged", "shelved")
LEGAL: Final[dict[State, tuple[Action, ...]]] = {
    "active": ("acknowledge", "shelve", "clear"),
    "acknowledged": ("shelve", "clear"),
    # Acknowledging takes an alarm off the shelf. Shelving again and again would hide it for good.
    "shelved": ("acknowledge", "clear"),
    "cleared": (),
}
LONGEST_SHELF_MS: Final = 24 * 3_600_000
RETURNS_AFTER_MS: Final = 60_000
"""An alarm that was cleared while its station goes on is active again when something abnormal arrives this much later:
a fault that lasts may be shelved, which ends by itself, but not be cleared away."""


class IllegalAction(StationwatchError):
    """The alarm's state does not allow what was asked."""


@dataclass(frozen=True)
class Done:
    """One thing that somebody did to an alarm. Times in ms since the epoch.

    Args:
        action: what.
        at_ms: when.
        until_ms: end of the shelving, None for other actions.
        by: role of who did it, None where nobody has to say who he is.
        comment: what was said.
    """

    action: Action
    at_ms: int
    until_ms: int | None = None
    by: str | None = None
    comment: str = ""


def state_of(done: Sequence[Done], last_ms: int, closed_ms: int | None, now_ms: int) -> State:
    """The state of an alarm.

    Args:
        done: what people did, oldest first.
        last_ms: when its last abnormal reading reached Kafka, ms since the epoch.
        closed_ms: when it was quiet for long enough, None while it is not.
        now_ms: ms since the epoch.
    """
    if closed_ms is not None:
        return "cleared"
    last = done[-1] if done else None
    if last is None:
        return "active"
    if last.action == "acknowledge":
        return "acknowledged"
    if last.action == "shelve":
        return "shelved" if last.until_ms is not None and now_ms < last.until_ms else "active"
    return "active" if last_ms > last.at_ms + RETURNS_AFTER_MS else "cleared"


def check_legal(state: State, wanted: Done) -> None:
    """Refuse what the state does not allow.

    Raises:
        IllegalAction: with a sentence that says what would be legal.
        ValueError: shelved for no time, or over 24 hours.
    """
    if wanted.action not in LEGAL[state]:
        legal = " or ".join(LEGAL[state]) or "nothing more"
        raise IllegalAction(f"the alarm is {state}; {wanted.action} is not possible, only {legal}")
    if wanted.action != "shelve":
        return
    if wanted.until_ms is None or not 0 < wanted.until_ms - wanted.at_ms <= LONGEST_SHELF_MS:
        raise ValueError("an alarm is shelved until a moment within the next 24 hours")
