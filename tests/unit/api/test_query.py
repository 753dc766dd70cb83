"""Query parameters: what is taken, and what an error says of what is not."""

from __future__ import annotations

import json

import pytest

from tests.unit.api.api_client import client


@pytest.mark.parametrize(
    "limit", ["0", "1001", "-1", "true", "1.0", "1e1", "", " 5", "5 ", "١٢", "1_0", "9" * 400, "a\x00b"]
)
def test_a_bad_limit_is_named_with_its_value_and_what_is_expected(limit: str) -> None:
    """Breaks when a limit that is no whole number of ASCII digits in 1…1000 is taken or explained badly."""
    answer = client().get("/api/latest_anomalies", query_string={"limit": limit})
    assert answer.status_code == 422
    (error,) = json.loads(answer.data)["errors"]
    assert error["pointer"] == "/query/limit"
    assert f"limit = '{limit[:60]}" in error["detail"]
    assert "from 1 to 1000" in error["detail"]


@pytest.mark.parametrize(
    "text", ["abc", "5", "-5m", "1.5h", "30m1h", "999999999999d", "١٢h", "", "0m", "1 h", "1h,2h", "<script>", "91d"]
)
def test_a_bad_time_range_is_named_with_its_value_and_what_is_expected(text: str) -> None:
    """Breaks when the strict grammar of the contract is loosened on the way through the query parser."""
    answer = client().get("/api/outliers_count", query_string={"time_range": text})
    assert answer.status_code == 422
    (error,) = json.loads(answer.data)["errors"]
    assert error["pointer"] == "/query/time_range"
    assert f"time_range = '{text}'" in error["detail"]
    assert "such as 5m" in error["detail"]


@pytest.mark.parametrize(
    ("query", "code", "pointer"),
    [
        ("time_range=1h&time_range=2h", "repeated", "/query/time_range"),
        ("time_range=1h&time_range=1h", "repeated", "/query/time_range"),
        ("time_range=1h&limit=5", "unknown", "/query/limit"),
        ("time_range=1h&a~b/c=5", "unknown", "/query/a~0b~1c"),
        ("", "missing", "/query/time_range"),
        ("Time_Range=1h", "unknown", "/query/Time_Range"),
    ],
)
def test_strays_are_refused(query: str, code: str, pointer: str) -> None:
    """Breaks when a repeated, unknown or missing parameter is ignored."""
    answer = client().get(f"/api/outliers_count?{query}")
    assert answer.status_code == 422
    errors = json.loads(answer.data)["errors"]
    assert (code, pointer) in {(error["code"], error["pointer"]) for error in errors}
