"""A record is a reading or a dead letter, and nothing between: never another error."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidReading
from core.reading import MAX_AHEAD_MS, MAX_BEHIND_MS, REASONS, Reading, Validator
from core.sensors import DEFAULT_SENSORS, Sensor

NOON = 1_772_366_400_000
VALIDATOR = Validator(DEFAULT_SENSORS)
GOOD: dict[str, Any] = {
    "schema_version": 1,
    "station_id": "station-0007",
    "event_time": "2026-03-01T12:00:00.250Z",
    "seq": 1234,
    "temperature": 21.4,
    "humidity": 48,
    "noise": None,
}
KEY = b"station-0007"


def validate(record_ms: int = NOON, key: bytes | None = KEY, **changes: Any) -> Reading:
    return VALIDATOR.validate(key, json.dumps(GOOD | changes).encode(), record_ms)


def reason(value: bytes | None, key: bytes | None = KEY) -> str:
    with pytest.raises(InvalidReading) as problem:
        VALIDATOR.validate(key, value, NOON)
    return problem.value.reason


def test_a_good_record_is_a_reading_in_catalogue_order() -> None:
    reading = validate()
    assert reading[:3] == ("station-0007", NOON + 250, 1234)
    assert reading.values[:2] == (21.4, 48.0)
    assert math.isnan(reading.values[2])


def test_any_offset_is_the_same_instant_and_unknown_fields_are_ignored() -> None:
    assert validate(event_time="2026-03-01T17:30:00.250+05:30", battery=3, extra={"a": [1]})[:3] == validate()[:3]


@pytest.mark.parametrize(
    ("ahead_ms", "fits"),
    [(MAX_AHEAD_MS, True), (MAX_AHEAD_MS + 1, False), (-MAX_BEHIND_MS, True), (-MAX_BEHIND_MS - 1, False)],
)
def test_the_time_window_follows_the_kafka_timestamp(ahead_ms: int, fits: bool) -> None:
    record_ms = NOON + 250 - ahead_ms
    if fits:
        assert validate(record_ms=record_ms).event_ms == NOON + 250
    else:
        with pytest.raises(InvalidReading, match="bad_time"):
            validate(record_ms=record_ms)


def test_bounds_are_inclusive_and_beyond_plausible_is_still_valid() -> None:
    assert validate(temperature=1000).values[0] == 1000.0
    assert validate(temperature=-273.15).values[0] == -273.15
    with pytest.raises(InvalidReading, match="out_of_physics: temperature"):
        validate(temperature=1000.0000001)


def test_an_optional_sensor_may_be_absent_and_counts_as_missing() -> None:
    lax = Validator((Sensor("temperature"), Sensor("vibration", optional=True)))
    value = json.dumps(
        {name: GOOD[name] for name in ("schema_version", "station_id", "event_time", "seq", "temperature")}
    )
    assert math.isnan(lax.validate(KEY, value.encode(), NOON).values[1])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "null_value"),
        (b"", "empty"),
        (b" \n", "empty"),
        (b"{", "malformed_json"),
        (b"[]", "not_an_object"),
        (b"[" * 16_000, "malformed_json"),
        (b" " * 20_000, "too_large"),
        (json.dumps(GOOD).encode() + b"x", "malformed_json"),
        (json.dumps(GOOD).encode() * 2, "malformed_json"),
        (json.dumps(GOOD | {"schema_version": 2}).encode(), "schema_version"),
        (json.dumps(GOOD | {"seq": 2**63}).encode(), "bad_seq"),
        (json.dumps(GOOD | {"seq": 1.5}).encode(), "wrong_type"),
        (json.dumps(GOOD | {"noise": True}).encode(), "wrong_type"),
        (json.dumps(GOOD | {"noise": math.inf}).encode(), "not_finite"),
        (json.dumps(GOOD | {"noise": "nan"}).encode(), "not_finite"),
        (json.dumps(GOOD | {"event_time": 1}).encode(), "bad_time"),
        (json.dumps(GOOD | {"event_time": "2026-03-01T12:00:00"}).encode(), "bad_time"),
        (json.dumps(GOOD | {"station_id": "a b"}).encode(), "bad_station_id"),
        (json.dumps(GOOD | {"station_id": "other"}).encode(), "key_mismatch"),
        (json.dumps({k: v for k, v in GOOD.items() if k != "noise"}).encode(), "missing_field"),
        (json.dumps(GOOD | {"x": "é"}, ensure_ascii=False).encode("latin-1"), "malformed_json"),
    ],
)
def test_each_bad_record_has_its_reason(value: bytes | None, expected: str) -> None:
    assert reason(value) == expected


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_dead_letters(value: bytes) -> None:
    assert reason(value) in REASONS


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from(sorted(GOOD)), _JSON, max_size=4),
    st.sets(st.sampled_from(sorted(GOOD)), max_size=2),
)
def test_no_field_can_raise_anything_but_a_reason(changes: dict[str, Any], absent: set[str]) -> None:
    document = {name: value for name, value in (GOOD | changes).items() if name not in absent}
    try:
        reading = VALIDATOR.validate(KEY, json.dumps(document).encode(), NOON)
    except InvalidReading as problem:
        assert problem.reason in REASONS
    else:
        assert all(math.isnan(value) or math.isfinite(value) for value in reading.values)
