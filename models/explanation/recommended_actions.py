"""What to do about an anomaly: a table that people review and edit, `actions.json`.

The first row that fits is taken; `*` fits everything. Rows name a sensor, the leading one's direction and the hint.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Literal

import msgspec

from core.errors import StationwatchError
from models.explanation.cause import Hint

NONE = "none"
DIRECTIONS = ("above", "below", "equal", "missing")


class Action(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row: what to do when these three fit."""

    sensor: str
    direction: Literal["above", "below", "equal", "missing", "*"]
    hint: Hint | Literal["*"]
    text: str


class Actions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table.

    Args:
        surroundings: sensors that show the air of the hall, not the work done in it.
        actions: rows, the first that fits counts.
    """

    surroundings: tuple[str, ...]
    actions: tuple[Action, ...]

    def recommended(self, sensor: str, direction: str, hint: str, default: str = "") -> str:
        """Return what to do; the default, else `NONE`, where the table has no answer."""
        for row in self.actions:
            if row.sensor in (sensor, "*") and row.direction in (direction, "*") and row.hint in (hint, "*"):
                return row.text
        return default or NONE


def read_actions(data: bytes, name: str = "actions.json") -> Actions:
    """Read a table.

    Raises:
        StationwatchError: no such table; says where and what.
    """
    try:
        return msgspec.json.decode(data, type=Actions)
    except msgspec.MsgspecError as error:
        raise StationwatchError(f"the table of actions {name} cannot be used: {error}") from error


@cache
def reviewed_actions() -> Actions:
    """Return the table of this release."""
    return read_actions(files("models.explanation").joinpath("actions.json").read_bytes())
