"""What a reading is. A Kafka record is one, or it is a dead letter with a reason: nothing between."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from core.errors import InvalidReading
from core.sensors import Sensor

SCHEMA_VERSION = 1
MAX_BYTES = 16 * 1024
MAX_DEPTH = 32  # of nesting; how deep a parser gets otherwise depends on its caller's stack
MAX_AHEAD_MS = 5 * 60 * 1000
MAX_BEHIND_MS = 30 * 24 * 3600 * 1000
STATION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)", re.ASCII)
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_INT64 = range(-(2**63), 2**63)
_NOT_FINITE_TEXTS = frozenset({"nan", "inf", "infinity", "-inf", "-infinity", "+inf", "+infinity", "+nan", "-nan"})

REASONS = (
    "null_value", "empty", "too_large", "malformed_json", "not_an_object", "missing_field", "wrong_type", "not_finite",
    "schema_version", "bad_station_id", "key_mismatch", "bad_seq", "bad_time", "out_of_physics", "id_conflict",
)  # fmt: skip


class Reading(NamedTuple):
    """A valid reading. `values` follow the sensor catalogue, in its units; NaN is a missing value."""

    station_id: str
    event_ms: int
    seq: int
    values: tuple[float, ...]


@dataclass(frozen=True)
class Validator:
    """Decide whether a Kafka record is a reading of stations with these sensors.

    A pure function of the record: the time window follows the record's Kafka timestamp, never the wall clock,
    so that a replay judges alike. Where a JSON key is doubled the last one counts, as in every common parser.
    """

    sensors: tuple[Sensor, ...]
    decode: Callable[[bytes], msgspec.Struct] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        wire = _wire_format(self.sensors)
        object.__setattr__(self, "_wire", wire)
        object.__setattr__(self, "decode", msgspec.json.Decoder(wire).decode)
        object.__setattr__(self, "_bounds", tuple(sensor.hard for sensor in self.sensors))

    def __reduce__(self) -> tuple[type[Validator], tuple[tuple[Sensor, ...]]]:
        return (Validator, (self.sensors,))

    def validate(self, key: bytes | None, value: bytes | None, record_ms: int) -> Reading:
        """Return the reading that a record holds.

        Args:
            key: the record's key; must be the station id.
            value: the record's value; must be a JSON object.
            record_ms: the record's Kafka timestamp, ms since the epoch.

        Raises:
            InvalidReading: with one of `REASONS`, and a detail that names the field and the value.
        """
        if value is None or len(value) > MAX_BYTES:
            raise _unusable(value)
        if not (value.isascii() or _is_utf8(value)):
            raise InvalidReading("malformed_json", "the value is not UTF-8")
        if value.count(b"{") + value.count(b"[") > MAX_DEPTH and nesting(value) > MAX_DEPTH:
            raise InvalidReading("malformed_json", f"nested more than {MAX_DEPTH} levels deep")
        try:
            wire = self.decode(value)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            wire = self._decode_slowly(value, error)
        version, station_id, event_time, seq, *raw = msgspec.structs.astuple(wire)
        if version != SCHEMA_VERSION:
            raise InvalidReading("schema_version", f"schema_version {version}; this release reads {SCHEMA_VERSION}")
        if not STATION_ID.fullmatch(station_id):
            raise InvalidReading("bad_station_id", f"station_id {_short(station_id)}; expected {STATION_ID.pattern}")
        if key != station_id.encode():
            raise InvalidReading("key_mismatch", f"record key {_short(key)} is not station_id {station_id!r}")
        if seq not in _INT64:
            raise _bad_seq(seq)
        event_ms = event_ms_of(event_time)
        if not record_ms - MAX_BEHIND_MS <= event_ms <= record_ms + MAX_AHEAD_MS:
            raise InvalidReading("bad_time", _time_detail(event_time, event_ms, record_ms))
        return Reading(station_id, event_ms, seq, self._checked(raw))

    def _decode_slowly(self, value: bytes, error: Exception) -> msgspec.Struct:
        """Name the reason of a record that the decoder refused, or read it where only a doubled key misled it."""
        document = _document(value, error)
        problem = _first_problem(document, self.sensors)
        if problem:
            raise problem
        try:
            json.loads(value, parse_int=_integer, parse_constant=_no_constant, object_pairs_hook=_encodable)
            return msgspec.convert(document, self._wire)  # type: ignore[attr-defined, no-any-return]
        except ValueError:
            raise InvalidReading("malformed_json", f"{error} in {_short(value)}") from None

    def _checked(self, raw: list[float | None]) -> tuple[float, ...]:
        # Adding 0.0 turns -0.0 into 0.0, so that equal values have equal bytes.
        values = tuple(math.nan if number is None else number + 0.0 for number in raw)
        for sensor, number, (low, high) in zip(self.sensors, values, self._bounds, strict=True):  # type: ignore[attr-defined]
            if not low <= number <= high and number == number:
                reason = "not_finite" if math.isinf(number) else "out_of_physics"
                raise InvalidReading(reason, f"{sensor.name} {number!r} {sensor.unit}; possible is {low}…{high}")
        return values


def _wire_format(sensors: tuple[Sensor, ...]) -> type[msgspec.Struct]:
    # Python names are s0, s1 …: a sensor may be called `class` or `import`.
    fields: list[Any] = [
        ("schema_version", int),
        ("station_id", str),
        ("event_time", str),
        ("seq", int),
    ]
    for number, sensor in enumerate(sensors):
        default = {"default": None} if sensor.optional else {}
        fields.append((f"s{number}", float | None, msgspec.field(name=sensor.name, **default)))
    return msgspec.defstruct("Wire", fields, gc=False, kw_only=True)


def _unusable(value: bytes | None) -> InvalidReading:
    if value is None:
        return InvalidReading("null_value", "the record has no value")
    return InvalidReading("too_large", f"{len(value)} bytes; at most {MAX_BYTES} are read")


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def nesting(value: bytes) -> int:
    """Return the deepest nesting of brackets outside of strings."""
    deepest = depth = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", value)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _document(value: bytes, error: Exception) -> dict[str, Any]:
    """Parse a record that the decoder refused. Runs for bad records only, so it may be slow."""
    if not value.strip():
        raise InvalidReading("empty", "the value is empty or blank")
    try:
        document = json.loads(value.decode("utf-8"), parse_int=_integer)
    except (ValueError, RecursionError):
        raise InvalidReading("malformed_json", f"{error} in {_short(value)}") from None
    if not isinstance(document, dict):
        raise InvalidReading("not_an_object", f"the value is a JSON {type(document).__name__}, not an object")
    return document


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON, though Python reads it")


def _encodable(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its members, refusing lone surrogates also in those that a doubled key hides."""
    json.dumps(pairs, ensure_ascii=False).encode()
    return dict(pairs)


def _integer(digits: str) -> int:
    # Python refuses to parse integers of thousands of digits. No field takes one of 400 either.
    return int(digits[:400])


def _first_problem(document: dict[str, Any], sensors: tuple[Sensor, ...]) -> InvalidReading | None:
    required = ["schema_version", "station_id", "event_time", "seq", *(s.name for s in sensors if not s.optional)]
    for name in required:
        if name not in document:
            return InvalidReading("missing_field", f"field {name!r} is absent (names are case-sensitive)")
    for name, kind in (("schema_version", int), ("station_id", str), ("seq", int)):
        if type(document[name]) is not kind:
            return InvalidReading("wrong_type", f"{name} is {_short(document[name])}; expected {kind.__name__}")
    if document["seq"] not in _INT64:
        return _bad_seq(document["seq"])
    for sensor in sensors:
        problem = _sensor_problem(sensor.name, document.get(sensor.name))
        if problem:
            return problem
    if not isinstance(document["event_time"], str):
        return _bad_time(document["event_time"])
    return None


def _sensor_problem(name: str, number: object) -> InvalidReading | None:
    if isinstance(number, str) and number.strip().lower() in _NOT_FINITE_TEXTS:
        return InvalidReading("not_finite", f"{name} is the text {number!r}")
    if number is not None and (isinstance(number, bool) or not isinstance(number, int | float)):
        return InvalidReading("wrong_type", f"{name} is {_short(number)}; expected a number or null")
    if isinstance(number, float) and not math.isfinite(number):
        return InvalidReading("not_finite", f"{name} is {number}")
    if isinstance(number, int) and abs(number) >= 2**1024:
        return InvalidReading("not_finite", f"{name} does not fit a 64-bit float")
    return None


def event_ms_of(text: str) -> int:
    """Return the ms since the epoch of an RFC 3339 time; digits below a millisecond are cut off."""
    if not _RFC3339.fullmatch(text):
        raise _bad_time(text)
    try:
        return (datetime.fromisoformat(text.upper()) - _EPOCH) // _MILLISECOND
    except (ValueError, OverflowError):
        raise _bad_time(text) from None


def _bad_seq(seq: int) -> InvalidReading:
    return InvalidReading("bad_seq", f"seq {_short(seq)} does not fit 64 bits")


def _bad_time(value: object) -> InvalidReading:
    return InvalidReading("bad_time", f"event_time is {_short(value)}; expected RFC 3339 with offset")


def _time_detail(text: str, event_ms: int, record_ms: int) -> str:
    offset = (event_ms - record_ms) / 1000
    return f"event_time {text} is {offset:+.1f} s from the Kafka timestamp; allowed is -30 d … +300 s"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
