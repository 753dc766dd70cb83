"""Bad values, each with one fault and the reasons that fit it: those of facts.md and faults.md F01 to F10 and F15."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
LARGE_BYTES = 900_000  # below the broker's default limit, far above what a reading may have

Fields = dict[str, Any]
Build = Callable[[Fields, np.random.Generator], "Bad"]


@dataclass(frozen=True)
class Bad:
    """What is sent instead of a reading.

    Args:
        key, value: raw.
        reasons: of the dead letter; the product may name any of them.
    """

    key: bytes | None
    value: bytes | None
    reasons: frozenset[str]


def rfc3339(event_ms: int) -> str:
    """The time as a station writes it: UTC, milliseconds, Z."""
    moment = datetime.fromtimestamp(event_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{event_ms % 1000:03d}Z"


def good_fields(station_id: str, event_ms: int, seq: int, values: Mapping[str, float | None]) -> Fields:
    """The fields of a reading, in the order stations send them."""
    return {"schema_version": 1, "station_id": station_id, "event_time": rfc3339(event_ms), "seq": seq, **values}


def bad_record(kind: str, fields: Fields, rng: np.random.Generator) -> Bad:
    """Spoil a good reading.

    Args:
        kind: one of `KINDS`.
        fields: of the good reading.
        rng: where details come from.
    """
    return KINDS[kind](fields, rng)


def _keyed(fields: Fields) -> bytes:
    return str(fields["station_id"]).encode("utf-8", "surrogatepass")


def _raw(spoil: Callable[[bytes], bytes | None], *reasons: str) -> Build:
    """Spoil the bytes."""
    return lambda fields, rng: Bad(_keyed(fields), spoil(json.dumps(fields).encode()), frozenset(reasons))


def _fields(change: Callable[[Fields], Fields], *reasons: str) -> Build:
    """Change the fields; the key stays the good one."""
    return lambda fields, rng: Bad(_keyed(fields), json.dumps(change(dict(fields))).encode(), frozenset(reasons))


def _with(name: str, value: object, *reasons: str) -> Build:
    return _fields(lambda fields: {**fields, name: value}, *reasons)


def _written(name: str, text: str, *reasons: str) -> Build:
    """Write a field as this raw JSON text, which json.dumps could not."""

    def spoil(fields: Fields, rng: np.random.Generator) -> Bad:
        document = json.dumps({**fields, name: "@@"}).replace('"@@"', text)
        return Bad(_keyed(fields), document.encode(), frozenset(reasons))

    return spoil


def _without(name: str) -> Build:
    return _fields(lambda fields: {other: value for other, value in fields.items() if other != name}, "missing_field")


def _renamed(name: str, to: str) -> Build:
    return _fields(lambda fields: {to if n == name else n: v for n, v in fields.items()}, "missing_field")


def _id(station_id: str) -> Build:
    """Another station id, with the key that belongs to it."""

    def spoil(fields: Fields, rng: np.random.Generator) -> Bad:
        changed = {**fields, "station_id": station_id}
        return Bad(_keyed(changed), json.dumps(changed).encode(), frozenset({"bad_station_id"}))

    return spoil


def _shifted(by_ms: int) -> Build:
    def spoil(fields: Fields, rng: np.random.Generator) -> Bad:
        event = datetime.fromisoformat(fields["event_time"])
        changed = {**fields, "event_time": rfc3339(round(event.timestamp() * 1000) + by_ms)}
        return Bad(_keyed(fields), json.dumps(changed).encode(), frozenset({"bad_time"}))

    return spoil


def _key(key: bytes | None) -> Build:
    return lambda fields, rng: Bad(key, json.dumps(fields).encode(), frozenset({"key_mismatch"}))


def _epoch_ms(fields: Fields) -> int:
    return round(datetime.fromisoformat(fields["event_time"]).timestamp() * 1000)


def _cut(fields: Fields, rng: np.random.Generator) -> Bad:
    document = json.dumps(fields).encode()
    return Bad(_keyed(fields), document[: int(rng.integers(1, len(document)))], frozenset({"malformed_json"}))


KINDS: dict[str, Build] = {
    # No JSON, or not one document (F01, F02, F03)
    "tombstone": _raw(lambda value: None, "null_value"),
    "empty": _raw(lambda value: b"", "empty"),
    "blank": _raw(lambda value: b" \t\r\n ", "empty"),
    "cut off": _cut,
    "two documents": _raw(lambda value: value + value, "malformed_json"),
    "two lines": _raw(lambda value: value + b"\n" + value, "malformed_json"),
    "trailing garbage": _raw(lambda value: value + b"garbage", "malformed_json"),
    "trailing NUL": _raw(lambda value: value + b"\x00", "malformed_json"),
    "trailing comma": _raw(lambda value: value[:-1] + b",}", "malformed_json"),
    "python repr": _raw(lambda value: str(json.loads(value)).encode(), "malformed_json"),
    "byte order mark": _raw(lambda value: b"\xef\xbb\xbf" + value, "malformed_json"),
    "UTF-16": _raw(lambda value: value.decode().encode("utf-16-le"), "malformed_json"),
    "invalid UTF-8": _raw(lambda value: value[:-1] + b',"note":"\xff\xfe"}', "malformed_json"),
    "binary": lambda fields, rng: Bad(_keyed(fields), b"\x00" + rng.bytes(64), frozenset({"malformed_json"})),
    "deep nesting": _raw(lambda value: value[:-1] + b',"note":' + b"[" * 8000 + b"]" * 8000 + b"}", "malformed_json"),
    "deep array": _raw(lambda value: b"[" * 5000, "malformed_json"),
    "array": _raw(lambda value: b"[" + value + b"]", "not_an_object"),
    "scalar": _raw(lambda value: b"42", "not_an_object"),
    "text": _raw(lambda value: json.dumps(value.decode()).encode(), "not_an_object"),
    "null document": _raw(lambda value: b"null", "not_an_object"),
    # Numbers (F04, F05)
    "NaN": _written("temperature", "NaN", "not_finite", "malformed_json"),
    "Infinity": _written("humidity", "Infinity", "not_finite", "malformed_json"),
    "minus Infinity": _written("noise", "-Infinity", "not_finite", "malformed_json"),
    "1e400": _written("temperature", "1e400", "not_finite"),
    "400 digits": _written("temperature", "1" + "0" * 400, "not_finite"),
    "NaN text": _with("temperature", "NaN", "not_finite", "wrong_type"),
    "number as text": _with("humidity", "48.2", "wrong_type"),
    "boolean": _with("noise", True, "wrong_type"),
    "list of numbers": _with("noise", [61.0], "wrong_type"),
    "below absolute zero": _with("temperature", -300.0, "out_of_physics"),
    "too humid": _with("humidity", 250.0, "out_of_physics"),
    "huge": _with("noise", 1e9, "out_of_physics"),
    "huge integer": _with("noise", 10**30, "out_of_physics"),
    # Fields and versions (F08, F09)
    "missing field": _without("humidity"),
    "missing seq": _without("seq"),
    "missing version": _without("schema_version"),
    "wrong case": _renamed("temperature", "Temperature"),
    "wrong case id": _renamed("station_id", "Station_ID"),
    "renamed": _renamed("noise", "noise_level"),
    "nested id": _fields(lambda fields: {**fields, "station_id": {"id": fields["station_id"]}}, "wrong_type"),
    "nested document": _fields(lambda fields: {"data": fields}, "missing_field"),
    "version 2": _with("schema_version", 2, "schema_version"),
    "version text": _with("schema_version", "1", "wrong_type"),
    "version boolean": _with("schema_version", True, "wrong_type"),
    "seq as float": _with("seq", 1.0, "wrong_type"),
    "seq as text": _with("seq", "1", "wrong_type"),
    "seq null": _with("seq", None, "wrong_type"),
    "seq too large": _with("seq", 2**63, "bad_seq"),
    # Ids and keys (F09)
    "NUL in id": _id("station-0001\x00"),
    "empty id": _id(""),
    "long id": _id("s" * 65),
    "CQL in id": _id("'; DROP TABLE readings; --"),
    "HTML in id": _id("<script>alert(1)</script>"),
    "log line in id": _id("station-0001\nERROR all is lost ${jndi:ldap://x}"),
    "path in id": _id("../../etc/passwd"),
    "umlaut in id": _id("stätion-0001"),
    "wrong key": _key(b"station-of-nobody"),
    "key with blank": lambda fields, rng: Bad(
        _keyed(fields) + b" ", json.dumps(fields).encode(), frozenset({"key_mismatch"})
    ),
    "null key": _key(None),
    "key not UTF-8": _key(b"\xff\xfe"),
    # Clocks (F10)
    "epoch number": _fields(lambda fields: {**fields, "event_time": _epoch_ms(fields)}, "bad_time", "wrong_type"),
    "epoch text": _fields(lambda fields: {**fields, "event_time": str(_epoch_ms(fields))}, "bad_time"),
    "year 9999": _with("event_time", "9999-12-31T23:59:59.999Z", "bad_time"),
    "1970": _with("event_time", "1970-01-01T00:00:00.000Z", "bad_time"),
    "one hour ahead": _shifted(HOUR_MS),
    "31 days behind": _shifted(-31 * DAY_MS),
    "naive time": _fields(lambda fields: {**fields, "event_time": fields["event_time"][:-1]}, "bad_time"),
    "no such day": _with("event_time", "2026-02-30T00:00:00Z", "bad_time"),
    "surrogate in time": _with("event_time", "\ud800", "bad_time", "malformed_json"),
    "time null": _with("event_time", None, "bad_time", "wrong_type"),
    # Size (F15)
    "17 KiB": _raw(lambda value: value[:-1] + b',"note":"' + b"x" * 17 * 1024 + b'"}', "too_large"),
    "17 KiB blank": _raw(lambda value: b" " * 17 * 1024, "too_large"),
    "900 KB": _raw(lambda value: value[:-1] + b',"note":"' + b"x" * LARGE_BYTES + b'"}', "too_large"),
}
RARE = ("900 KB",)  # large ones are sent once each, not in proportion


def draw_kinds(rng: np.random.Generator, count: int) -> list[str]:
    """Choose kinds: each at least once if `count` allows, the rare ones never twice, in random order."""
    common = [kind for kind in KINDS if kind not in RARE]
    chosen = [*list(KINDS)[:count], *map(str, rng.choice(common, max(0, count - len(KINDS))))]
    rng.shuffle(chosen)
    return chosen
