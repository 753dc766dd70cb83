"""Strict query parameters: known names only, each once, ASCII digits, and errors that name value and expectation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from apiflask import Schema
from apiflask.fields import Integer, String
from marshmallow import RAISE, ValidationError, pre_load

from api.time_range import EXPECTED, BadDuration, parse_duration

STRICT = RAISE
"""For `input(..., unknown=STRICT)`: webargs ignores unknown query parameters otherwise, whatever the schema says."""

_INTEGER = re.compile(r"[0-9]{1,18}", re.ASCII)
_SHOWN_CHARACTERS = 60


class StrictQuery(Schema):
    """Base of the query schemas."""

    @pre_load
    def refuse_strays(self, data: Any, **_: Any) -> Any:
        """Refuse repeated and unknown parameters.

        A misspelt `limt=5` that silently meant the default would be worse than an error.
        """
        errors = {name: list(_strays(name, values, self.fields)) for name, values in data.data.lists()}
        errors = {name: found for name, found in errors.items() if found}
        if errors:
            raise ValidationError(errors)
        return data


class BoundedInteger(Integer):
    """An integer in [low, high], written in ASCII digits."""

    def __init__(self, low: int, high: int, **options: Any) -> None:
        metadata = {**options.pop("metadata", {}), "minimum": low, "maximum": high}
        super().__init__(metadata=metadata, **options)
        self._low, self._high = low, high

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> int:
        if _INTEGER.fullmatch(value) and self._low <= int(value) <= self._high:
            return int(value)
        code = "out_of_range" if _INTEGER.fullmatch(value) else "not_an_integer"
        raise _refused(code, attr, value, f"an integer from {self._low} to {self._high}")


class Duration(String):
    """A `time_range`; kept as written, since the answer echoes it."""

    def __init__(self, **options: Any) -> None:
        metadata = {"description": EXPECTED, "examples": ["1h"], **options.pop("metadata", {})}
        messages: Any = {"required": _missing("time_range", EXPECTED)}
        super().__init__(metadata=metadata, error_messages=messages, **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> str:
        try:
            parse_duration(value)
        except BadDuration as error:
            raise _refused("bad_duration", attr, value, EXPECTED) from error
        return str(value)


def _refused(code: str, name: str | None, value: str, expected: str) -> ValidationError:
    return ValidationError([{"code": code, "detail": f"{name} = '{_short(value)}': expected {expected}"}])


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def _missing(name: str, expected: str) -> list[dict[str, str]]:
    return [{"code": "missing", "detail": f"{name} is missing: expected {expected}"}]


def _strays(name: str, values: list[str], fields: Any) -> Iterator[dict[str, str]]:
    if name not in fields:
        known = ", ".join(sorted(fields)) or "none"
        yield {"code": "unknown", "detail": f"{_short(name)} is unknown; this address takes: {known}"}
    elif len(values) > 1:
        yield {"code": "repeated", "detail": f"{name} is given {len(values)} times; expected once"}
