"""Strict query parameters: known names only, each once, ASCII digits, and errors that name value and expectation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from apiflask import Schema
from apiflask.fields import Float, Integer, String
from marshmallow import RAISE, ValidationError, pre_load

from core.errors import InvalidReading
from core.reading import STATION_ID, event_ms_of

STRICT = RAISE
"""For `input(..., unknown=STRICT)`: webargs ignores unknown query parameters otherwise, whatever the schema says."""

_INTEGER = re.compile(r"[0-9]{1,18}", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?", re.ASCII)
_SHOWN_CHARACTERS = 60
UNITS_MS = {
    "y": 365 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1000,
    "ms": 1,
}
"""Milliseconds of each unit, longest first: the order in which a duration may name them."""

LONGEST_MS = 90 * 86_400_000
EXPECTED_DURATION = (
    "a duration such as 5m, 4h, 1h30m or 30d: longest unit first (y w d h m s ms), each once, above 0 and at most 90d"
)

# Twelve digits hold 90 days in any unit with room to spare; more would only make Python parse huge integers.
_DURATION = re.compile("".join(f"(?:([0-9]{{1,12}}){unit})?" for unit in UNITS_MS), re.ASCII)


class BadDuration(ValueError):
    """The text is no duration of the grammar, or one out of bounds."""


def parse_duration(text: str) -> int:
    """Read a duration of the Prometheus grammar, strictly.

    Args:
        text: such as `1h30m`; ASCII digits only, no sign, no fraction, no blanks.

    Returns:
        Milliseconds, in 1…90 days.

    Raises:
        BadDuration: anything else; the message says what is expected.
    """
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        raise BadDuration(f"expected {EXPECTED_DURATION}")
    total = sum(int(number) * unit for number, unit in zip(match.groups(default="0"), UNITS_MS.values(), strict=True))
    if not 0 < total <= LONGEST_MS:
        raise BadDuration(f"expected {EXPECTED_DURATION}")
    return total


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
        metadata = {"description": EXPECTED_DURATION, "examples": ["1h"], **options.pop("metadata", {})}
        messages: Any = {"required": _missing("time_range", EXPECTED_DURATION)}
        super().__init__(metadata=metadata, error_messages=messages, **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> str:
        try:
            parse_duration(value)
        except BadDuration as error:
            raise _refused("bad_duration", attr, value, EXPECTED_DURATION) from error
        return str(value)


class Moment(String):
    """An RFC 3339 time with any offset, loaded as ms since the epoch; digits below a millisecond are cut off."""

    EXPECTED = "an RFC 3339 time such as 2026-11-21T10:15:04.250Z, from 1970 on"

    def __init__(self, **options: Any) -> None:
        metadata = {"format": "date-time", **options.pop("metadata", {})}
        super().__init__(metadata=metadata, **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> Any:
        try:
            moment = event_ms_of(value)
        except InvalidReading as error:
            raise _refused("bad_time", attr, value, self.EXPECTED) from error
        if moment < 0:
            raise _refused("bad_time", attr, value, self.EXPECTED)
        return moment


class StationId(String):
    """A station's id."""

    def __init__(self, **options: Any) -> None:
        metadata = {"pattern": f"^{STATION_ID.pattern}$", **options.pop("metadata", {})}
        super().__init__(metadata=metadata, **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> str:
        if not STATION_ID.fullmatch(value):
            raise _refused("bad_station_id", attr, value, f"{STATION_ID.pattern}")
        return str(value)


class Choice(String):
    """One of a few words."""

    def __init__(self, *words: str, **options: Any) -> None:
        metadata = {"enum": list(words), **options.pop("metadata", {})}
        super().__init__(metadata=metadata, **options)
        self._words = words

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> str:
        if value not in self._words:
            raise _refused("unknown_value", attr, value, f"one of {', '.join(self._words)}")
        return str(value)


class BoundedNumber(Float):
    """A finite decimal number in [low, high], in ASCII digits, as JSON writes numbers."""

    def __init__(self, low: float, high: float, **options: Any) -> None:
        metadata = {**options.pop("metadata", {}), "minimum": low, "maximum": high}
        super().__init__(metadata=metadata, **options)
        self._low, self._high = low, high

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> float:
        if _NUMBER.fullmatch(value) and self._low <= float(value) <= self._high:
            return float(value)
        code = "out_of_range" if _NUMBER.fullmatch(value) else "not_a_number"
        raise _refused(code, attr, value, f"a number from {self._low:g} to {self._high:g}")


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
