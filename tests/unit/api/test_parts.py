"""The pure parts behind /api/v1: ids, intervals, bodies, readings to judge, kept counts."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np
import pytest
from apiflask import APIFlask, HTTPError
from hypothesis import given
from hypothesis import strategies as st

from api.http import limits
from api.http.body import json_object
from api.http.interval import AHEAD_MS, resolve
from api.http.opaque_ids import Identity, anomaly_id, identity_of
from api.representations.common import rounded
from api.v1.predict import parse_request
from core.sensors import DEFAULT_SENSORS, Sensor
from storage.tables.anomalies import leading_sensor
from storage.tables.anomaly_scan import Place

NOW_MS = 1_795_274_104_250
GOOD = {"temperature": 21.5, "humidity": 48, "noise": None}

stations = st.text("abcXYZ019_-", min_size=1, max_size=64)
moments = st.integers(0, 253_402_300_799_999)
seqs = st.integers(-(2**63), 2**63 - 1)


@given(stations, moments, seqs)
def test_an_id_stands_for_one_identity_and_back(station: str, event_ms: int, seq: int) -> None:
    """Breaks when two anomalies share an address, or an id does not lead back."""
    text = anomaly_id(station, event_ms, seq)
    assert identity_of(text) == Identity(station, event_ms, seq)
    assert text.replace("-", "").replace("_", "").isalnum()


@given(st.text(max_size=200))
def test_any_other_text_is_no_id(text: str) -> None:
    """Breaks when an arbitrary text raises, or a second spelling of an id leads to the same anomaly."""
    found = identity_of(text)
    assert found is None or anomaly_id(*found) == text


@pytest.mark.parametrize(
    "plain", ["a.1", "a.1.2.3", "a b.1.2", "a.-1.2", "a.1.9223372036854775808", "a.01.2", "a.1.-0"]
)
def test_what_is_not_an_identity_has_no_id(plain: str) -> None:
    """Breaks when an id can name a moment or seq that no table can hold, or be written in two ways."""
    assert identity_of(base64.urlsafe_b64encode(plain.encode()).rstrip(b"=").decode()) is None


def test_an_interval_that_ends_now_reaches_ahead() -> None:
    """Breaks when what is stored, up to 5 minutes ahead of the clock, is not in a range that ends now."""
    assert resolve({}, NOW_MS, "24h") == (NOW_MS - 86_400_000, NOW_MS + AHEAD_MS)
    assert resolve({"time_range": "5m"}, NOW_MS, "24h") == (NOW_MS - 300_000, NOW_MS + AHEAD_MS)
    assert resolve({"start": NOW_MS}, NOW_MS, "24h") == (NOW_MS, NOW_MS + AHEAD_MS)
    assert resolve({"start": 5, "end": 9}, NOW_MS, "24h") == (5, 9)
    assert resolve({"time_range": "90d"}, 1000, "24h").start_ms == 0


@pytest.mark.parametrize(
    "query",
    [{"start": 9, "end": 9}, {"start": 9, "end": 3}, {"end": 9}, {"start": 0, "end": NOW_MS}]
    + [{"time_range": "1h", "start": 5}, {"time_range": "1h", "end": 5}],
)
def test_intervals_that_make_no_sense_are_refused(query: dict[str, Any]) -> None:
    """Breaks when an empty, endless or doubly given interval is answered."""
    with pytest.raises(HTTPError) as caught:
        resolve(query, NOW_MS, "24h")
    assert caught.value.status_code == 422


def body(data: bytes, kind: str = "application/json") -> Any:
    with APIFlask("test").test_request_context("/", method="POST", data=data, content_type=kind):
        return json_object()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b'{"a":NaN}', 400),
        (b'{"a":-Infinity}', 400),
        (b'{"a":"\xff"}', 400),
        (b'{"a":1}{"b":2}', 400),
        (b'{"a":01}', 400),
        (b'\xef\xbb\xbf{"a":1}', 400),
        (b'{"a":' * 40 + b"1" + b"}" * 40, 400),
        (b'{"a":1e400}', 422),
        (b'{"a":' + b"9" * 5000 + b"}", 422),
        (b'{"a":1,"a":1}', 422),
        (b'{"a":{"b":1,"b":2}}', 422),
        (b'{"a":"\\ud800"}', 422),
        (b"[1]", 422),
        (b"null", 422),
        (b"5", 422),
    ],
)
def test_a_body_that_is_no_plain_object_is_refused(data: bytes, status: int) -> None:
    """Breaks when Python's lenience reaches the routes: NaN, doubled members, infinite numbers."""
    with pytest.raises(HTTPError) as caught:
        body(data)
    assert caught.value.status_code == status


def test_a_good_body_is_read_and_another_type_is_415() -> None:
    """Breaks when brackets in texts count as nesting, or a form is parsed as JSON."""
    assert body(b'{"a":"' + b"[" * 100 + b'\\"{"}') == {"a": "[" * 100 + '"{'}
    assert body(b'{"a":1}', "application/json; charset=utf-8") == {"a": 1}
    with pytest.raises(HTTPError) as caught:
        body(b'{"a":1}', "text/plain")
    assert caught.value.status_code == 415


def test_one_reading_and_a_batch_are_read() -> None:
    """Breaks when a value, its missing, its time or the context goes astray on the way to the judge."""
    context, [(asked, seq)] = parse_request(
        {**GOOD, "seq": 5, "event_time": "2026-11-21T11:15:04.25+01:00"}, DEFAULT_SENSORS, 9
    )
    assert (context, seq, asked.station_id, asked.event_ms) == ("global", 5, None, 1_795_256_104_250)
    assert asked.values[:2] == (21.5, 48.0)
    assert math.isnan(asked.values[2])
    context, rows = parse_request(
        {"context": "own", "readings": [{**GOOD, "station_id": "a"}] * 1000}, DEFAULT_SENSORS, NOW_MS
    )
    assert (context, len(rows), rows[-1][0].event_ms) == ("own", 1000, NOW_MS)
    optional = (Sensor("temperature"), Sensor("light", optional=True))
    assert math.isnan(parse_request({"temperature": 1}, optional, 0)[1][0][0].values[1])


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({}, "/body/temperature"),
        ({**GOOD, "temperature": True}, "/body/temperature"),
        ({**GOOD, "temperature": "21"}, "/body/temperature"),
        ({**GOOD, "temperature": -300}, "/body/temperature"),
        ({**GOOD, "temperature": 10**400}, "/body/temperature"),
        ({**GOOD, "humidty": 5}, "/body/humidty"),
        ({**GOOD, "seq": 1.0}, "/body/seq"),
        ({**GOOD, "seq": True}, "/body/seq"),
        ({**GOOD, "seq": 2**63}, "/body/seq"),
        ({**GOOD, "station_id": "a b"}, "/body/station_id"),
        ({**GOOD, "station_id": 5}, "/body/station_id"),
        ({**GOOD, "context": "own"}, "/body/station_id"),
        ({**GOOD, "context": "mine"}, "/body/context"),
        ({**GOOD, "context": ["own"]}, "/body/context"),
        ({**GOOD, "event_time": "yesterday"}, "/body/event_time"),
        ({**GOOD, "event_time": None}, "/body/event_time"),
        ({**GOOD, "schema_version": 2}, "/body/schema_version"),
        ({**GOOD, "schema_version": True}, "/body/schema_version"),
        ({"readings": []}, "/body/readings"),
        ({"readings": [GOOD] * 1001}, "/body/readings"),
        ({"readings": GOOD}, "/body/readings"),
        ({"readings": [GOOD, 5]}, "/body/readings/1"),
        ({"readings": [GOOD, {**GOOD, "noise": "x"}]}, "/body/readings/1/noise"),
        ({"readings": [GOOD], "temperature": 5}, "/body/temperature"),
    ],
)
def test_a_bad_reading_is_named(document: dict[str, Any], pointer: str) -> None:
    """Breaks when a reading is judged that the stream would refuse, or the error names another member."""
    with pytest.raises(HTTPError) as caught:
        parse_request(document, DEFAULT_SENSORS, NOW_MS)
    assert caught.value.status_code == 422
    assert [error["pointer"] for error in caught.value.extra_data["errors"]] == [pointer]


@pytest.mark.parametrize(
    ("verdict", "leading"),
    [
        (json.dumps({"sensors": [{"name": "a", "contribution": 0.2}, {"name": "b", "contribution": 0.8}]}), "b"),
        (json.dumps({"sensors": []}), None),
        ("{}", None),
        ("no JSON", None),
        ("", None),
        ('{"sensors": [5]}', None),
    ],
)
def test_the_leading_sensor_contributes_most(verdict: str, leading: str | None) -> None:
    """Breaks when counting by sensor and the explanation disagree, or a strange verdict stops the writing."""
    assert leading_sensor(verdict) == leading


@given(st.floats(-1e6, 1e6, width=32))
def test_a_stored_float_is_shown_as_it_was_meant(number: float) -> None:
    """Breaks when 21.4 is shown as 21.399999618530273, or a rounded number is another one in 32 bits."""
    shown = rounded(number)
    assert shown is not None
    assert np.float32(shown) == np.float32(number)
    assert len(repr(shown).lstrip("-").replace(".", "").split("e")[0].strip("0")) <= 9


def test_a_place_is_plain_enough_for_a_token() -> None:
    """Breaks when a token cannot carry a place through JSON and back."""
    for place in (Place(5), Place(5, "a", -(2**63))):
        assert Place(*json.loads(json.dumps(list(place)))) == place


def test_loading_a_model_is_no_part_of_a_requests_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when the first prediction of a process is refused because its model took long to load."""
    seconds = [0.0]
    monkeypatch.setattr("api.http.limits.time.monotonic", lambda: seconds[0])
    until = limits._until.set(limits.REQUEST_SECONDS)
    try:
        with limits.time_stopped():
            seconds[0] += 60.0
        limits.check_time()
        seconds[0] += limits.REQUEST_SECONDS + 1.0
        with pytest.raises(HTTPError):
            limits.check_time()
    finally:
        limits._until.reset(until)
