"""What people may do with an alarm: the whole table of transitions, and what ends by itself."""

from __future__ import annotations

from typing import get_args

import pytest

from core.alarm import (
    LONGEST_SHELF_MS,
    RETURNS_AFTER_MS,
    STATES,
    Action,
    Done,
    IllegalAction,
    State,
    check_legal,
    state_of,
)

NOW = 1_000_000_000
LEGAL = {
    ("active", "acknowledge"), ("active", "shelve"), ("active", "clear"),
    ("acknowledged", "shelve"), ("acknowledged", "clear"),
    ("shelved", "acknowledge"), ("shelved", "clear"),
}  # fmt: skip


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("action", get_args(Action))
def test_every_state_takes_the_actions_of_the_table_and_no_other(state: State, action: Action) -> None:
    """Breaks when something is legal that should not be, or the other way round."""
    wanted = Done(action, NOW, NOW + 1 if action == "shelve" else None)
    if (state, action) in LEGAL:
        check_legal(state, wanted)
    else:
        with pytest.raises(IllegalAction, match=state):
            check_legal(state, wanted)


@pytest.mark.parametrize("until_ms", [None, NOW, NOW - 1, NOW + LONGEST_SHELF_MS + 1])
def test_shelved_is_until_a_moment_within_a_day(until_ms: int | None) -> None:
    """Breaks when an alarm may be hidden for no time, or for good."""
    check_legal("active", Done("shelve", NOW, NOW + LONGEST_SHELF_MS))
    with pytest.raises(ValueError, match="24 hours"):
        check_legal("active", Done("shelve", NOW, until_ms))


@pytest.mark.parametrize(
    ("done", "last_ms", "closed_ms", "now_ms", "state"),
    [
        ([], NOW, None, NOW, "active"),
        ([Done("acknowledge", NOW)], NOW + 10**9, None, NOW + 10**9, "acknowledged"),
        ([Done("shelve", NOW, NOW + 100)], NOW, None, NOW + 99, "shelved"),
        ([Done("shelve", NOW, NOW + 100)], NOW, None, NOW + 100, "active"),
        ([Done("acknowledge", NOW - 1), Done("shelve", NOW, NOW + 100)], NOW, None, NOW + 100, "active"),
        ([Done("clear", NOW)], NOW + RETURNS_AFTER_MS, None, NOW + 10**9, "cleared"),
        ([Done("clear", NOW)], NOW + RETURNS_AFTER_MS + 1, None, NOW + 10**9, "active"),
        ([], NOW, NOW + 60_000, NOW + 60_000, "cleared"),
        ([Done("shelve", NOW, NOW + 10**6)], NOW, NOW + 60_000, NOW + 60_001, "cleared"),
    ],
)
def test_a_state_follows_from_what_was_done_and_what_happened(
    done: list[Done], last_ms: int, closed_ms: int | None, now_ms: int, state: State
) -> None:
    """Breaks when a shelved alarm stays away, or a fault that goes on stays cleared away."""
    assert state_of(done, last_ms, closed_ms, now_ms) == state
