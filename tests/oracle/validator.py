"""What is a reading and what is a dead letter, decided from design.md 2.1 and 2.2 alone with the standard library."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import NamedTuple, Protocol, TypeGuard

MAX_VALUE_BYTES = 16 * 1024
AHEAD_MS = 5 * 60 * 1000
BEHIND_MS = 30 * 24 * 3600 * 1000
STATION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
# RFC 3339 section 5.6; its letters are case-insensitive. Second 60 is left out: no leap second lies in the window.
RFC_3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
ESCAPE = re.compile(r"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F]..)|.)", re.DOTALL)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
JSON_BLANKS = b" \t\r\n"
NOT_FINITE_TEXTS = ("NaN", "Infinity", "-Infinity")  # as strings; faults.md F04 calls them not finite
MOST_LEVELS = 32  # of nested brackets, stated in core/reading.py; design.md is silent
LARGEST_INT64 = 2**63 - 1


class SensorBounds(Protocol):
    """What the oracle needs to know of a sensor."""

    @property
    def name(self) -> str:
        """Key in the JSON."""

    @property
    def hard(self) -> tuple[float, float]:
        """Physical bounds, inclusive."""

    @property
    def optional(self) -> bool:
        """Whether the key may be absent."""


class Parsed(NamedTuple):
    """A valid reading: identity, and values in catalogue order (None is missing)."""

    station_id: str
    event_ms: int
    seq: int
    values: tuple[float | None, ...]


class Dead(NamedTuple):
    """A dead letter. The product may name any of `reasons`: a value can be wrong in several ways at once."""

    reasons: frozenset[str]


class JsonNumber(NamedTuple):
    """A JSON number as it was written."""

    text: str
    whole: bool


def validate(key: bytes | None, value: bytes | None, record_ms: int, sensors: Sequence[SensorBounds]) -> Parsed | Dead:
    """Decide whether a Kafka value is a reading.

    Args:
        key: raw key.
        value: raw value.
        record_ms: Kafka timestamp, ms since the epoch.
        sensors: the configured sensors.
    """
    if value is None:
        return _dead("null_value")
    if len(value) > MAX_VALUE_BYTES:
        return _dead("too_large")
    if not value.strip(JSON_BLANKS):
        return _dead("empty")
    parsed = parse_json(value)
    if parsed is None:
        return _dead("malformed_json") if value.strip() else _dead("malformed_json", "empty")
    document, reasons = parsed
    if not isinstance(document, dict):
        return _dead("not_an_object", *reasons)
    return _from_fields(document, key, record_ms, sensors, reasons)


def parse_json(value: bytes) -> tuple[object, set[str]] | None:
    """Parse one JSON text; numbers stay as written, of doubled keys the last counts.

    A lone surrogate is written in ASCII but is no text that UTF-8 could hold: it counts as invalid UTF-8.

    Returns:
        The document, and what is wrong with its JSON that a lax parser lets pass; None when it is no JSON at all.
    """
    problems: set[str] = set()

    def note_constant(text: str) -> JsonNumber:
        problems.update(("malformed_json", "not_finite"))
        return JsonNumber(text, False)

    try:
        text = value.decode("utf-8")
        document = json.loads(
            text,
            parse_int=lambda text: JsonNumber(text, True),
            parse_float=lambda text: JsonNumber(text, False),
            parse_constant=note_constant,
        )
    except (UnicodeDecodeError, ValueError, RecursionError):
        return None
    if _nesting(text) > MOST_LEVELS:
        problems.add("malformed_json")
    if any(escape.group(1) for escape in ESCAPE.finditer(text)):
        problems.add("malformed_json")
    return document, problems


def _nesting(text: str) -> int:
    """Deepest level of brackets, letter by letter."""
    deepest = level = 0
    in_string = escaped = False
    for letter in text:
        if in_string:
            in_string = escaped or letter != '"'
            escaped = letter == "\\" and not escaped
        elif letter == '"':
            in_string = True
        else:
            level += (letter in "[{") - (letter in "]}")
            deepest = max(deepest, level)
    return deepest


def event_time_ms(text: str) -> int | None:
    """Milliseconds since the epoch of an RFC 3339 time with offset, finer digits cut off; None if it is none."""
    match = RFC_3339.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    fraction, sign, offset_hours, offset_minutes = match.groups()[6:]
    millis = int((fraction or "")[:3].ljust(3, "0"))
    offset = timedelta()
    if sign:
        if int(offset_hours) > 23 or int(offset_minutes) > 59:
            return None
        offset = timedelta(hours=int(offset_hours), minutes=int(offset_minutes)) * (1 if sign == "+" else -1)
    try:
        moment = datetime(year, month, day, hour, minute, second, millis * 1000, tzinfo=timezone(offset))
        return (moment - EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        return None


def _from_fields(
    document: dict[str, object], key: bytes | None, record_ms: int, sensors: Sequence[SensorBounds], reasons: set[str]
) -> Parsed | Dead:
    required = ["schema_version", "station_id", "event_time", "seq"] + [s.name for s in sensors if not s.optional]
    if any(name not in document for name in required):
        reasons.add("missing_field")
    _check_schema_version(document, reasons)
    station_id = _station_id(document, key, reasons)
    event_ms = _event_ms(document, record_ms, reasons)
    seq = _seq(document, reasons)
    values = tuple(_sensor_value(document.get(sensor.name), sensor, reasons) for sensor in sensors)
    if reasons or station_id is None or event_ms is None or seq is None:
        return Dead(frozenset(reasons))
    return Parsed(station_id, event_ms, seq, values)


def _check_schema_version(document: dict[str, object], reasons: set[str]) -> None:
    version = document.get("schema_version", JsonNumber("1", True))
    if not _is_whole(version):
        reasons.add("wrong_type")
    elif version.text != "1":
        reasons.add("schema_version")


def _station_id(document: dict[str, object], key: bytes | None, reasons: set[str]) -> str | None:
    if "station_id" not in document:
        return None
    station_id = document["station_id"]
    if not isinstance(station_id, str):
        reasons.add("wrong_type")
        return None
    if not STATION_ID.fullmatch(station_id):
        reasons.add("bad_station_id")
        return None
    if key != station_id.encode("ascii"):
        reasons.add("key_mismatch")
    return station_id


def _event_ms(document: dict[str, object], record_ms: int, reasons: set[str]) -> int | None:
    if "event_time" not in document:
        return None
    text = document["event_time"]
    if not isinstance(text, str):
        reasons.update(("wrong_type", "bad_time"))  # faults.md F10 calls an epoch number a bad time
        return None
    event_ms = event_time_ms(text)
    if event_ms is None or event_ms - record_ms > AHEAD_MS or record_ms - event_ms > BEHIND_MS:
        reasons.add("bad_time")
    return event_ms


def _seq(document: dict[str, object], reasons: set[str]) -> int | None:
    if "seq" not in document:
        return None
    seq = document["seq"]
    if not _is_whole(seq):
        reasons.add("wrong_type")
        return None
    # More digits than any int64 has; Python refuses to parse very long ones.
    if len(seq.text) > 20 or not -LARGEST_INT64 - 1 <= int(seq.text) <= LARGEST_INT64:
        reasons.add("bad_seq")
        return None
    return int(seq.text)


def _sensor_value(value: object, sensor: SensorBounds, reasons: set[str]) -> float | None:
    if value is None:
        return None
    if not isinstance(value, JsonNumber):
        reasons.update(("wrong_type", "not_finite") if value in NOT_FINITE_TEXTS else ("wrong_type",))
        return None
    number = float(value.text)
    if not math.isfinite(number):
        reasons.add("not_finite")
    elif not sensor.hard[0] <= number <= sensor.hard[1]:
        reasons.add("out_of_physics")
    return number


def _is_whole(value: object) -> TypeGuard[JsonNumber]:
    return isinstance(value, JsonNumber) and value.whole


def _dead(*reasons: str) -> Dead:
    return Dead(frozenset(reasons))
