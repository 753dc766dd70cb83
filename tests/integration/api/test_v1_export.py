"""Ranges as lines, records of other systems, feedback, and what waits for a later release; on a real Cassandra."""

from __future__ import annotations

import csv
import io
import json

import pytest
from flask.testing import FlaskClient

from api.http.opaque_ids import anomaly_id
from api.http.times import rfc3339
from storage.driver.session import Store
from storage.tables.anomalies import AnomalyRow, time_slot, write_anomalies
from tests.integration.api_plant import (
    DAY_MS,
    HOUR_MS,
    NOW_MS,
    anomaly_row,
    answered,
    walked,
)

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def stored(store: Store) -> list[AnomalyRow]:
    rows = [anomaly_row(f"station-{at % 7:04d}", NOW_MS - at * 60_000, at, float(at % 100)) for at in range(1200)]
    write_anomalies(store, rows)
    return rows


def path_of(row: AnomalyRow) -> str:
    return f"/api/v1/anomalies/{anomaly_id(*row[:3])}"


@pytest.mark.parametrize("how", ["format=ndjson", "accept"])
def test_lines_are_the_whole_range_as_the_list_shows_it(api: FlaskClient, stored: list[AnomalyRow], how: str) -> None:
    """Breaks when an export stops at a page, filters otherwise than the list, or its documents differ from it."""
    path = "/api/v1/anomalies?time_range=15h&min_severity=40"
    headers = {"Accept": "application/x-ndjson"} if how == "accept" else {}
    answer = api.get(path if headers else f"{path}&{how}", headers=headers)
    assert answer.mimetype == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.get_data(as_text=True).splitlines()]
    assert lines == walked(api, f"{path}&page_size=70", "anomalies")
    assert len(lines) == sum(row.severity >= 40 and NOW_MS - row.event_ms <= 15 * HOUR_MS for row in stored)


def test_a_severity_is_filtered_as_it_is_shown(api: FlaskClient, store: Store) -> None:
    """Breaks when 97.7, which 32 bits hold as 97.69999695, is shown as 97.7 and not found by min_severity=97.7."""
    write_anomalies(store, [anomaly_row("edge", NOW_MS - 40 * DAY_MS, 1, 97.7)])
    path = "/api/v1/anomalies?station_id=edge&time_range=60d&min_severity="
    assert [row["severity"] for row in answered(api, path + "97.7").get_json()["anomalies"]] == [97.7]
    assert answered(api, path + "97.71").get_json()["anomalies"] == []
    store.one("DELETE FROM anomalies_by_time WHERE hour = ? AND slot = ?", edge_partition())


def edge_partition() -> tuple[int, int]:
    """Where the anomaly above lies for the plant's lists, which the other tests read whole."""
    event_ms = NOW_MS - 40 * DAY_MS
    return event_ms - event_ms % HOUR_MS, time_slot("edge")


def test_csv_has_a_line_for_each_and_reads_back(api: FlaskClient, stored: list[AnomalyRow]) -> None:
    """Breaks when a quote or comma tears a line apart, a column moves, or an empty range has no header."""
    text = api.get("/api/v1/anomalies?time_range=90d&format=csv").get_data(as_text=True)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["id"] for row in rows] == [anomaly_id(*row[:3]) for row in stored]
    assert (rows[3]["event_time"], rows[3]["explanation"]) == (rfc3339(stored[3].event_ms), "Noise is 41 <b>dB</b>.")
    assert (rows[3]["temperature"], rows[3]["leading_sensor"], rows[3]["model_version"]) == ("41.25", "noise", "7")
    empty = api.get("/api/v1/anomalies?station_id=nobody&format=csv").get_data(as_text=True)
    assert empty == text.splitlines(keepends=True)[0]


def test_an_export_does_not_grow_with_its_range(api: FlaskClient, stored: list[AnomalyRow]) -> None:
    """Breaks when the whole range is gathered before its first line is sent."""
    answer = api.get("/api/v1/anomalies?time_range=90d&format=ndjson", buffered=False)
    chunks = [len(chunk) for chunk in answer.response]
    assert len(chunks) > 10
    assert max(chunks) < 64 * 1024


def test_records_of_other_systems(api: FlaskClient, stored: list[AnomalyRow]) -> None:
    """Breaks when a client of Elastic's records or of Lookout's inferences meets other members."""
    elastic = api.get("/api/v1/anomalies?time_range=90d&page_size=3&format=elastic").get_json()
    assert elastic["count"] == len(elastic["records"]) == 3
    assert elastic["records"][2] | {"influencers": []} == {
        "job_id": "station-detector", "result_type": "record", "record_score": 2.0, "initial_record_score": 2.0,
        "detector_index": 0, "is_interim": False, "timestamp": stored[2].event_ms, "function": "metric",
        "function_description": "value", "partition_field_name": "station_id",
        "partition_field_value": "station-0002", "field_name": "noise", "actual": [41.25], "typical": [25.0],
        "influencers": [],
    }  # fmt: skip
    token = elastic["next_page_token"]
    again = api.get(f"/api/v1/anomalies?time_range=90d&page_size=3&format=elastic&page_token={token}").get_json()
    assert again["records"][0]["timestamp"] == stored[3].event_ms
    lookout = api.get("/api/v1/anomalies?time_range=90d&page_size=3&format=lookout").get_json()["records"][2]
    assert lookout["timestamp"] == rfc3339(stored[2].event_ms).replace("Z", "000")
    assert (lookout["prediction"], lookout["anomaly_score"]) == (1, 0.02)
    assert {one["name"]: one["value"] for one in lookout["diagnostics"]}["station-0002\\noise"] == 0.8


@pytest.mark.parametrize(
    ("query", "pointer", "code"),
    [
        ("format=xml", "/query/format", "unknown_value"),
        ("format=", "/query/format", "unknown_value"),
        ("format=csv&page_token=x", "/query/page_token", "conflict"),
        ("format=ndjson&page_token=x", "/query/page_token", "conflict"),
    ],
)
def test_formats_that_make_no_sense_are_refused(api: FlaskClient, query: str, pointer: str, code: str) -> None:
    """Breaks when an unknown format is JSON, a token is ignored, or the wrong parameter is not named."""
    answer = api.get(f"/api/v1/anomalies?{query}")
    assert (answer.status_code, answer.mimetype) == (422, "application/problem+json")
    (error,) = answer.get_json()["errors"]
    assert (error["pointer"], error["code"]) == (pointer, code)


def test_feedback_is_shown_with_its_anomaly_and_the_last_word_holds(api: FlaskClient, stored: list[AnomalyRow]) -> None:
    """Breaks when feedback is lost, shown with another anomaly, or a second word does not replace the first."""
    row = stored[600]
    for verdict, comment in (("expected", "Wartung – geplant"), ("false_positive", "")):
        answer = api.post(f"{path_of(row)}/feedback", json={"verdict": verdict, "comment": comment})
        assert answer.status_code == 201
        given = {"verdict": verdict, "comment": comment, "time": rfc3339(NOW_MS), "given_by": "admin"}
        assert answer.get_json() == given == api.get(path_of(row)).get_json()["feedback"]
    found = walked(api, "/api/v1/anomalies?time_range=90d&page_size=500", "anomalies")
    assert [one["id"] for one in found if one["feedback"]] == [anomaly_id(*row[:3])]
    text = api.get("/api/v1/anomalies?time_range=90d&format=csv").get_data(as_text=True)
    assert [line["feedback"] for line in csv.DictReader(io.StringIO(text)) if line["feedback"]] == ["false_positive"]


def test_a_key_makes_a_repeated_request_harmless(api: FlaskClient, stored: list[AnomalyRow]) -> None:
    """Breaks when a key that came with another request is taken, or a repeated request is refused."""
    path, headers = f"{path_of(stored[7])}/feedback", {"Idempotency-Key": "a-key"}
    for _ in range(2):
        assert api.post(path, json={"verdict": "expected"}, headers=headers).status_code == 201
    assert api.post(path, json={"verdict": "true_positive"}, headers=headers).status_code == 409
    other = f"{path_of(stored[8])}/feedback"
    assert api.post(other, json={"verdict": "expected"}, headers=headers).status_code == 409
    assert api.post(path, json={"verdict": "expected"}, headers={"Idempotency-Key": "a b"}).status_code == 422


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('{"verdict":"maybe"}', 422),
        ("{}", 422),
        ('{"verdict":"expected","who":"me"}', 422),
        ('{"verdict":"expected","verdict":"expected"}', 422),
        ('{"verdict":"expected","comment":5}', 422),
        (json.dumps({"verdict": "expected", "comment": "x" * 2001}), 422),
        ('{"verdict":"expected","comment":"\\ud800"}', 422),
        ("[]", 422),
        ('{"verdict":', 400),
        ("", 400),
        ('{"verdict":NaN}', 400),
        ("[" * 40 + "]" * 40, 400),
    ],
)
def test_bad_feedback_is_refused(api: FlaskClient, stored: list[AnomalyRow], body: str, status: int) -> None:
    """Breaks when a body that is no feedback is stored, or ends in an error of this API."""
    answer = api.post(f"{path_of(stored[9])}/feedback", data=body, content_type="application/json")
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")
    assert api.get(path_of(stored[9])).get_json()["feedback"] is None


def test_feedback_on_nothing_or_of_another_type_is_refused(api: FlaskClient, stored: list[AnomalyRow]) -> None:
    """Breaks when feedback makes an anomaly that never was, or a form is taken for JSON."""
    given = {"verdict": "expected"}
    assert api.post(f"/api/v1/anomalies/{anomaly_id('x', NOW_MS, 1)}/feedback", json=given).status_code == 404
    assert api.post(f"{path_of(stored[9])}/feedback", data=given).status_code == 415
