"""Many records read at once are judged as one by one: same readings, same dead letters, to the last bit."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.detection.errors import InvalidReading
from models.detection.reading import Validator, event_ms_of
from models.detection.reading_batch import FEW_RECORDS, read_all, times_of
from models.detection.sensors import DEFAULT_SENSORS, Sensor
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


def at_once(validator: Validator, records: list[Record], known: frozenset[str]) -> tuple[list[Any], list[Any]]:
    keys, values, record_ms = zip(*records, strict=True)
    found = read_all(validator, keys, values, np.array(record_ms, np.int64), known)
    rows = zip(
        found.places.tolist(), found.station_ids, found.event_ms.tolist(), found.seq.tolist(), found.values, strict=True
    )
    return [(*row, values.tobytes()) for *row, values in rows], found.rejected


def check(records: list[Record], validator: Validator = VALIDATOR) -> None:
    """Judge them among good ones, so that the columns are taken, and alone."""
    good: Record = (KEY, json.dumps(GOOD).encode(), NOON)
    for known in (frozenset[str](), frozenset({"station-0007"})):
        for among in (records, [good] * FEW_RECORDS + records + [good] * 3):
            assert at_once(validator, among, known) == one_by_one(validator, among)


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


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_TIMES.filter(lambda text: isinstance(text, str) and len(text) == 24), min_size=1, max_size=8))
def test_times_are_read_as_the_validator_reads_them(texts: list[str]) -> None:
    found, is_time = times_of(texts)
    for text, ms, sure in zip(texts, found.tolist(), is_time.tolist(), strict=True):
        if sure:
            assert ms == event_ms_of(text)


def test_the_usual_form_needs_no_second_look() -> None:
    texts = ["2024-02-29T23:59:59.999Z", "1999-12-31T00:00:00.000Z", datetime.now(UTC).isoformat()[:23] + "Z"]
    assert times_of(texts)[1].all()
    assert not times_of(["2023-02-29T00:00:00.000Z", "2026-04-31T00:00:00.000Z", "2026-13-01T00:00:00.000Z"])[1].any()


@pytest.mark.parametrize("missing", ["vibration", "temperature"])
def test_an_optional_sensor_may_be_absent_in_columns_too(missing: str) -> None:
    lax = Validator((Sensor("temperature"), Sensor("vibration", optional=True)))
    document = {name: GOOD[name] for name in ("schema_version", "station_id", "event_time", "seq", "temperature")}
    document.pop(missing, None)
    check([(KEY, json.dumps(document).encode(), NOON)] * FEW_RECORDS, lax)
