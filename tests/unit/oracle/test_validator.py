"""The product's validator against the oracle's, over generated values."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InvalidReading
from core.reading import REASONS, Validator
from core.sensors import DEFAULT_SENSORS
from tests.oracle.validator import Dead, Parsed, validate

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
STATION = "station-0001"
# fmt: off
NUMBERS = [
    "0", "-0", "-0.0", "21.4", "1e2", "1E+2", "-273.15", "-273.16", "1000", "1000.0001", "1e308", "1e309", "-1e400",
    "01", "+1", ".5", "1.", "1e", "0x10", "1.0", "1e3",
    "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809", 
    "18446744073709551616",
    "NaN", "Infinity", "-Infinity", "null", "true", '"21"', '"NaN"', "[1]", "{}",
    *("1" + "0" * zeros for zeros in (30, 400, 5000)),
    "0." + "0" * 400 + "1",
]
TIMES = [
    "2026-11-21T11:59:59.999999999Z", "2026-11-21T11:59:59.9999+00:00", "2026-11-21t11:59:59z", "2026-11-21T11:59:59",
    "2026-11-21T13:59:59+02:00", "2026-11-21T11:59:59-00:00", "2026-11-21T11:59:60Z", "2026-11-21T24:00:00Z",
    "2026-11-21T12:05:00.000Z", "2026-11-21T12:05:00.001Z", "2026-11-21T12:05:00.0009Z", "2026-10-22T12:00:00.000Z",
    "2026-10-22T11:59:59.999Z", "2026-11-21T11:59Z", "20261121T115959Z", "2026-11-21", "2026-11-21T11:59:59.Z",
    "2026-11-21T11:59:59,5Z", "2026-11-21T11:59:59+0100", "2026-11-21T11:59:59+01", "2026-11-21T11:59:59+24:00",
    "2026-11-21T11:59:59+23:59", "2026-11-21T11:59:59+01:60", "9999-12-31T23:59:59-01:00", "2026-02-29T00:00:00Z",
    "0001-01-01T00:00:00+01:00", "0000-01-01T00:00:00Z", "NaN", "1795262399", "now",
    "2026-11-21T11:59:59.12345678901234Z",
    *("", "2026-11-21 11:59:59Z", "2026-11-21T11:59:59Z\n", " 2026-11-21T11:59:59Z", "\uff12026-11-21T11:59:59Z"),
]
# fmt: on
LOCAL = NOW.replace(tzinfo=None)

numbers = st.one_of(
    st.sampled_from(NUMBERS),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(2**70), 2**70).map(str),
)
moments = st.datetimes(LOCAL - timedelta(days=40), LOCAL + timedelta(hours=2))
times = st.one_of(moments.map(lambda moment: moment.isoformat() + "Z"), st.sampled_from(TIMES)).map(json.dumps)
scalars = st.one_of(
    numbers, times, st.sampled_from(['"a"', "null", "true", "[]", "{}", '"\\ud800"', '"\\u0000"', '"\x01"'])
)
good_fields = {
    "schema_version": "1",
    "station_id": json.dumps(STATION),
    "event_time": json.dumps("2026-11-21T11:59:59.250Z"),
    "seq": "1234",
    "temperature": "21.4",
    "humidity": "48.2",
    "noise": "61.0",
}
names = st.sampled_from([*good_fields, "Temperature", "extra", "s0", ""])


@st.composite
def values(draw: st.DrawFn) -> bytes:
    """A reading's JSON with a few things changed: other values, absent, doubled and additional fields, odd frames."""
    fields = list(good_fields.items())
    for _ in range(draw(st.integers(0, 2))):
        name = draw(names)
        text = draw(times if name == "event_time" and draw(st.booleans()) else scalars)
        change = draw(st.sampled_from(["replace", "append", "prepend", "drop"]))
        if change in ("replace", "drop"):
            fields = [field for field in fields if field[0] != name]
        if change != "drop":
            fields.insert(0 if change == "prepend" else len(fields), (name, text))
    text = "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in fields) + "}"
    before = draw(st.sampled_from([b"", b"", b"", b" ", b"\n", b"\xef\xbb\xbf", b"x", b"["]))
    after = draw(st.sampled_from([b"", b"", b"", b" ", b"}", b"{}", b"\x00", b"\xff", b","]))
    return before + text.encode("utf-8", "surrogatepass") + after


def product_says(key: bytes | None, value: bytes | None, record_ms: int = NOW_MS) -> Parsed | str:
    """The product's answer in the oracle's words: a reading, or the reason against it."""
    try:
        reading = Validator(DEFAULT_SENSORS).validate(key, value, record_ms)
    except InvalidReading as error:
        return error.reason
    numbers = tuple(None if math.isnan(number) else number for number in reading.values)
    return Parsed(reading.station_id, reading.event_ms, reading.seq, numbers)


def difference(key: bytes | None, value: bytes | None, record_ms: int = NOW_MS) -> str | None:
    """What product and oracle say differently of a value: valid or not, its content, or the reason. None: the same."""
    oracle, product = validate(key, value, record_ms, DEFAULT_SENSORS), product_says(key, value, record_ms)
    if product == oracle or (isinstance(oracle, Dead) and product in oracle.reasons and product in REASONS):
        return None
    return f"{value!r}: oracle {oracle}, product {product}"


def changed(**fields: str) -> bytes:
    """A good reading's JSON with these fields as given, raw JSON text each."""
    return ("{" + ",".join(f'"{name}":{text}' for name, text in {**good_fields, **fields}.items()) + "}").encode()


@settings(max_examples=3000, deadline=None)
@given(values())
def test_product_and_oracle_agree_on_changed_readings(value: bytes) -> None:
    """Breaks when the product accepts, refuses or explains any value otherwise than design.md says."""
    assert difference(STATION.encode(), value) is None


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.none(), st.binary(max_size=40), st.just(STATION.encode() + b" "), st.just(STATION.upper().encode()))
)
def test_product_and_oracle_agree_on_other_keys(key: bytes | None) -> None:
    """Breaks when a key that is not exactly the station id's bytes is taken."""
    assert difference(key, changed()) is None


@settings(max_examples=1000, deadline=None)
@given(st.one_of(st.none(), st.binary(max_size=60), st.text(max_size=30).map(str.encode)))
def test_product_and_oracle_agree_on_any_bytes(value: bytes | None) -> None:
    """Breaks when some bytes crash the product's validator, or are explained by a reason that does not fit."""
    assert difference(STATION.encode(), value) is None


HARD_CASES = {
    "deep": (changed(extra="[" * 8000 + "]" * 8000), "malformed_json"),
    "surrogate pair": (changed(extra='"\\ud83d\\ude00"'), NOW_MS - 750),
    "surrogates swapped": (changed(extra='"\\ude00\\ud83d"'), "malformed_json"),
    "not UTF-8": (changed(extra='"x"').replace(b"x", b"\xff"), "malformed_json"),
    "-0.0": (changed(temperature="-0.0"), NOW_MS - 750),
}
ONCE_DIFFERED = {
    "finer than ms": (changed(event_time='"2026-11-21T11:59:59.999999999Z"'), NOW_MS - 1, "rounded up"),
    "doubled key": (b'{"seq":null,' + changed()[1:], NOW_MS - 750, "the earlier one counts as well"),
    "blank for T": (changed(event_time='"2026-11-21 11:59:59Z"'), "bad_time", "taken"),
    "offset without colon": (changed(event_time='"2026-11-21T12:59:59+0100"'), "bad_time", "taken"),
    "surrogate in time": (changed(event_time='"\\ud800"'), "malformed_json", "raises UnicodeEncodeError"),
    "5001 digits": (changed(temperature="1" + "0" * 5000), "not_finite", "called malformed_json"),
    "5001 digit seq": (changed(seq="1" + "0" * 5000), "bad_seq", "called malformed_json"),
    "5001 digits beside": (changed(extra="1" + "0" * 5000, seq="null"), "wrong_type", "called malformed_json"),
}


@pytest.mark.parametrize(
    ("value", "fate"),
    [
        *(pytest.param(*case, id=name) for name, case in HARD_CASES.items()),
        *(pytest.param(value, fate, id=name) for name, (value, fate, _) in ONCE_DIFFERED.items()),
    ],
)
def test_known_hard_cases(value: bytes, fate: int | str) -> None:
    """Breaks when a case that once separated the two is decided otherwise. `fate`: a reason, or the event_ms."""
    oracle = validate(STATION.encode(), value, NOW_MS, DEFAULT_SENSORS)
    assert (fate in oracle.reasons) if isinstance(oracle, Dead) else (fate == oracle.event_ms)
    assert difference(STATION.encode(), value) is None


def test_nesting_is_judged_alike_at_any_stack_depth() -> None:
    """Breaks when the same bytes are valid in a shallow call and dead in a deep one: a replay could judge otherwise."""

    def deeper(levels: int, value: bytes) -> Parsed | str:
        return deeper(levels - 1, value) if levels else product_says(STATION.encode(), value)

    for depth in (20, 200, 700, 900):
        value = changed(extra="[" * depth + "]" * depth)
        assert product_says(STATION.encode(), value) == deeper(300, value), f"nested {depth} deep"
