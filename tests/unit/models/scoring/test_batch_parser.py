"""Many records read at once are judged as one by one: same readings, same dead letters, to the last bit."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import InvalidReading
from core.reading import Reading, Validator, event_ms_of
from core.sensors import DEFAULT_SENSORS, Sensor
from models.scoring.batch_parser import FEW_RECORDS, read_all
from tests.oracle.bad_records import KINDS, bad_record

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
Record = tuple[bytes | None, bytes | None, int]


def one_by_one(validator: Validator, records: list[Record]) -> tuple[list[Any], list[tuple[int, str, str]]]:
    read, rejected = [], []
    for place, record in enumerate(records):
        try:
            reading = validator.validate(*record)
            read.append((place, *reading[:3], np.array(reading.values).tobytes()))
        except InvalidReading as problem:
            rejected.append((place, problem.reason, problem.detail))
    return read, rejected


def at_once(validator: Validator, records: list[Record]) -> tuple[list[Any], list[Any]]:
    keys, values, record_ms = zip(*records, strict=True)
    held = (pa.array(texts, pa.large_binary()) for texts in (keys, values))
    found = read_all(validator, *held, np.array(record_ms, np.int64))
    rows = zip(
        found.places.tolist(), found.station_ids, found.event_ms.tolist(), found.seq.tolist(), found.values, strict=True
    )
    return [(*row, values.tobytes()) for *row, values in rows], found.rejected


def check(records: list[Record], validator: Validator = VALIDATOR) -> None:
    """Judge them among good ones, so that the compiled way is taken, and alone."""
    good: Record = (KEY, json.dumps(GOOD).encode(), NOON)
    for among in (records, [good] * FEW_RECORDS + records + [good] * 3):
        assert at_once(validator, among) == one_by_one(validator, among)


def test_every_kind_of_bad_record_is_refused_with_the_same_words() -> None:
    rng = np.random.default_rng(1)
    bad = [bad_record(kind, dict(GOOD), rng) for kind in KINDS]
    assert len(bad) >= 40
    check([(record.key, record.value, NOON) for record in bad])


_TIMES = st.one_of(
    st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)).map(lambda at: at.isoformat(timespec="milliseconds") + "Z"),
    st.from_regex(r"20[0-9]{2}-[0-3][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]\.[0-9]{3}Z", fullmatch=True),
    st.text(min_size=24, max_size=24),
    st.sampled_from(["2026-03-01T12:00:00Z", "2026-03-01t12:00:00.250z", "2026-03-01T13:00:00.250+01:00", "", 5, None]),
)
_NUMBERS = st.one_of(st.none(), st.floats(), st.integers(), st.booleans(), st.text(max_size=3), st.just(-0.0))
_CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "schema_version": st.sampled_from([0, 2, "1", None, True]),
        "station_id": st.one_of(st.sampled_from(["station-0007", "a b", "", "é", "x" * 65]), st.text(max_size=5)),
        "event_time": _TIMES,
        "seq": st.one_of(st.integers(), st.sampled_from([2**63, 2**63 - 1, -(2**63), 1.5, "1"])),
        "temperature": _NUMBERS,
        "humidity": _NUMBERS,
        "noise": _NUMBERS,
        "extra": st.sampled_from([{"a": 1}, [1], "{", "\ud800", "ü"]),
    },
)


# Drawing such records takes long on a busy machine; that says nothing of them.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(_CHANGES, st.sampled_from([KEY, None, b"other"]), st.booleans()), min_size=1, max_size=6))
def test_changed_records_are_judged_alike(changed: list[tuple[dict[str, Any], bytes | None, bool]]) -> None:
    records: list[Record] = []
    for changes, key, own_key in changed:
        document = GOOD | changes
        named = str(document["station_id"]).encode("utf-8", "replace") if own_key else key
        records.append((named, json.dumps(document).encode(), NOON))
    check(records)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=5))
def test_arbitrary_bytes_are_judged_alike(values: list[bytes]) -> None:
    check([(KEY, value, NOON) for value in values])


# Texts of JSON, where a dump by Python would only ever have the usual form.
_DIGITS = st.from_regex(r"-?[0-9]{1,25}(\.[0-9]{0,25})?([eE][+-]?[0-9]{0,3})?", fullmatch=True)
_VALUES = st.one_of(
    _DIGITS,
    st.floats(-40, 85).map(repr),
    st.integers(-(10**20), 10**20).map(str),
    st.sampled_from(["null", "true", "nul", "NaN", "Infinity", "-", "", "1.", ".5", "01", "-0", "-0.0", "[]", "{}"]),
    st.text(max_size=4).map(json.dumps),
)
_BLANKS = st.sampled_from(["", " ", "\n\t\r ", "\x0b"])


@st.composite
def _texts(draw: st.DrawFn) -> bytes:
    """A record's text: fields in any order, some changed, missing, doubled or unknown, blanks between."""
    document = {name: json.dumps(value) for name, value in GOOD.items()}
    fields = list((document | draw(st.dictionaries(st.sampled_from([*GOOD, "extra", "more"]), _VALUES))).items())
    if draw(st.booleans()):
        fields = draw(st.permutations(fields))[: draw(st.integers(4, 9))]
    fields += draw(st.lists(st.sampled_from(fields or [("seq", "1")]), max_size=1))
    blank = [draw(_BLANKS) for _ in range(4)] if draw(st.booleans()) else ["", "", "", ""]
    members = f"{blank[0]},{blank[1]}".join(f'"{name}"{blank[2]}:{blank[3]}{value}' for name, value in fields)
    text = f"{blank[0]}{{{blank[1]}{members}{blank[2]}}}{blank[3]}"
    return (text[: draw(st.integers(0, len(text)))] if draw(st.integers(0, 9)) == 0 else text).encode()


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_texts(), min_size=1, max_size=6))
def test_texts_that_are_nearly_json_are_judged_alike(values: list[bytes]) -> None:
    check([(KEY, value, NOON) for value in values])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_TIMES.filter(lambda text: isinstance(text, str) and len(text) == 24), min_size=1, max_size=8))
def test_times_are_read_as_the_validator_reads_them(texts: list[str]) -> None:
    for text in texts:
        try:
            record_ms = event_ms_of(text)
        except InvalidReading:
            record_ms = NOON
        check([(KEY, json.dumps(GOOD | {"event_time": text}).encode(), record_ms)])


@settings(deadline=None)
@given(st.lists(st.floats(-40, 85, allow_nan=False), min_size=1, max_size=20), st.integers(0, 20))
def test_numbers_are_read_to_the_last_bit(numbers: list[float], digits: int) -> None:
    texts = [*map(repr, numbers), *(f"{number:.{digits}f}" for number in numbers)]
    values = [json.dumps(GOOD).replace("21.4", text).encode() for text in texts]
    read, rejected = at_once(VALIDATOR, [(KEY, value, NOON) for value in values] * FEW_RECORDS)
    assert not rejected
    found = [np.frombuffer(row[-1])[0] for row in read[: len(texts)]]
    assert found == [float(text) for text in texts]


class Watched(Validator):
    """Counts the records that need a second look."""

    looks = 0

    def validate(self, key: bytes | None, value: bytes | None, record_ms: int) -> Reading:
        Watched.looks += 1
        return super().validate(key, value, record_ms)


def test_the_usual_form_needs_no_second_look() -> None:
    changes: list[dict[str, Any]] = [
        {}, {"temperature": -12.25}, {"temperature": 0.1 + 0.2}, {"temperature": 1e-7}, {"seq": -5},
        {"firmware": "1.2", "battery": 3.7, "charging": False, "note": None},
    ]  # fmt: skip
    texts = [json.dumps(GOOD | change).encode() for change in changes] * FEW_RECORDS
    for day in ("2024-02-29", "1999-12-31", "2000-02-29", "2026-03-01"):
        document = GOOD | {"event_time": f"{day}T23:59:59.999Z"}
        record_ms = event_ms_of(document["event_time"])
        good = [(KEY, text, NOON) for text in texts]
        at_once(Watched(DEFAULT_SENSORS), [*good, (KEY, json.dumps(document).encode(), record_ms)])
    assert Watched.looks == 0
    at_once(
        Watched(DEFAULT_SENSORS),
        [*good, (KEY, json.dumps(GOOD | {"event_time": "2026-02-29T00:00:00.000Z"}).encode(), NOON)],
    )
    assert Watched.looks == 1


def test_an_absent_key_or_value_is_absent_whatever_lies_beneath() -> None:
    """Breaks when the bytes under a null of an Arrow array are read."""
    texts = pa.array([json.dumps(GOOD).encode()] * 20, pa.large_binary())
    keys = pa.array([KEY] * 20, pa.large_binary())
    gone = pa.Array.from_buffers(pa.large_binary(), 20, [pa.py_buffer(bytes(3)), *texts.buffers()[1:]])
    keyless = pa.Array.from_buffers(pa.large_binary(), 20, [pa.py_buffer(bytes(3)), *keys.buffers()[1:]])
    record_ms = np.full(20, NOON)
    assert {reason for _, reason, _ in read_all(VALIDATOR, keys, gone, record_ms).rejected} == {"null_value"}
    assert {reason for _, reason, _ in read_all(VALIDATOR, keyless, texts, record_ms).rejected} == {"key_mismatch"}


@pytest.mark.parametrize("missing", ["vibration", "temperature"])
def test_an_optional_sensor_may_be_absent_in_columns_too(missing: str) -> None:
    lax = Validator((Sensor("temperature"), Sensor("vibration", optional=True)))
    document = {name: GOOD[name] for name in ("schema_version", "station_id", "event_time", "seq", "temperature")}
    document.pop(missing, None)
    check([(KEY, json.dumps(document).encode(), NOON)] * FEW_RECORDS, lax)
