"""The application without a store: errors, limits, headers, ids. What it reads is tested on the real Cassandra."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from core.errors import SettingsError
from core.logs import OneLine
from tests.unit.api.api_client import BrokenStore, NoStore, SlowStore, client
from tests.waiting import PATIENCE_SECONDS

PROBLEM = "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/nowhere", {}, 404),
        ("POST", "/livez", {}, 405),
        ("BREW", "/livez", {}, 405),
        ("GET", "/livez", {"data": b"x" * ((1 << 20) + 1)}, 413),
        ("GET", "/livez?" + "x" * 3000, {}, 414),
        ("GET", "/livez", {"headers": {"X-Long": "x" * 20_000}}, 431),
        ("GET", "/api/latest_anomalies?limit=0", {}, 422),
        ("GET", "/api/latest_anomalies", {}, 503),
        ("GET", "/readyz", {}, 503),
        ("GET", "/livez", {"headers": {"Host": "evil.example"}}, 400),
        ("GET", "/livez", {"headers": {"Host": "127.0.0.1.evil.example:8000"}}, 400),
    ],
)
def test_every_error_is_a_problem_document(method: str, path: str, options: dict[str, Any], status: int) -> None:
    """Breaks when an error leaves as HTML, without its id, or with an exception's text."""
    answer = client().open(path, method=method, **options)
    assert answer.status_code == status
    assert answer.content_type == PROBLEM
    document = json.loads(answer.data)
    assert {"type", "title", "status", "detail", "instance"} <= document.keys()
    assert document["status"] == status
    assert document["type"].startswith("urn:stationwatch:problem:")
    assert document["instance"] == answer.headers["X-Request-Id"] != ""
    assert b"secret" not in answer.data


def test_long_counts_cannot_take_every_thread() -> None:
    """Breaks when any number of counts over a month may run at once, so that /livez queues behind them."""
    store = SlowStore()
    app = client(store).application
    month = "/api/outliers_count?time_range=30d"
    with ThreadPoolExecutor(2) as others:
        running = [others.submit(lambda: app.test_client().get(month)) for _ in range(2)]
        try:
            assert store.entered.acquire(timeout=PATIENCE_SECONDS)
            assert store.entered.acquire(timeout=PATIENCE_SECONDS)
            refused = app.test_client().get(month)
        finally:
            store.leave.set()
        assert [one.result().get_json()["type"].rpartition(":")[2] for one in running] == ["store-unavailable"] * 2
    assert (refused.status_code, refused.get_json()["type"].rpartition(":")[2]) == (503, "busy")
    assert int(refused.headers["Retry-After"]) > 0
    assert app.test_client().get(month).get_json()["type"].endswith("store-unavailable"), "the places are free again"


def test_a_defect_is_a_500_that_says_nothing_of_its_cause() -> None:
    """Breaks when an unforeseen exception reaches the client, or the connection is dropped."""
    answer = client(BrokenStore()).get("/api/latest_anomalies")
    assert (answer.status_code, answer.content_type) == (500, PROBLEM)
    assert b"secret" not in answer.data
    assert b"ZeroDivision" not in answer.data


def test_headers_that_the_status_asks_for() -> None:
    """Breaks when 405 lacks Allow or 503 lacks Retry-After."""
    assert "GET" in client().post("/livez").headers["Allow"]
    assert int(client().get("/api/latest_anomalies").headers["Retry-After"]) > 0
    assert int(client().get("/").headers["Retry-After"]) > 0


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "[::1]"])
def test_this_machines_own_names_are_served(host: str) -> None:
    """Breaks when the check against foreign host names refuses a browser on this machine."""
    assert client().get("/livez", headers={"Host": host}).status_code == 200


def test_good_parameters_reach_the_store() -> None:
    """Breaks when validation refuses what the contract allows: the store, not the query, must be the trouble."""
    store = NoStore()
    for path in ("latest_anomalies", "latest_anomalies?limit=1000", "outliers_count?time_range=1h30m"):
        assert client(store).get(f"/api/{path}").status_code == 503
    assert store.doubts == 3


@pytest.mark.parametrize(
    ("given", "kept"), [("abc-1.2_3", True), ("a" * 65, False), ("a b", False), ("é", False), ("", False)]
)
def test_a_request_id_is_kept_when_it_is_harmless(given: str, kept: bool) -> None:
    """Breaks when a client's id is lost, or one that could forge a log line is taken."""
    answer = client().get("/livez", headers={"X-Request-Id": given})
    assert (answer.headers["X-Request-Id"] == given) is kept
    assert answer.headers["X-Request-Id"]


def test_log_lines_cannot_be_forged(caplog: pytest.LogCaptureFixture) -> None:
    """Breaks when a decoded path with a line break yields a second log line."""
    with caplog.at_level(logging.INFO, logger="api.access"):
        client().get("/nowhere%0A2026-11-21 INFO forged%1b[2J%E2%80%A8x", headers={"X-Request-Id": "mine"})
    (line,) = [OneLine().format(record) for record in caplog.records if record.name == "api.access"]
    assert len(line.splitlines()) == 1
    assert "mine GET /nowhere" in line
    assert "\x1b" not in line


def test_livez_needs_no_store_and_metrics_count_by_route() -> None:
    """Breaks when liveness depends on Cassandra, or a path chosen by clients becomes a label."""
    here = client()
    assert here.get("/livez").status_code == 200
    for path in ("/a", "/b", "/c"):
        here.get(path)
    text = here.get("/metrics").get_data(as_text=True)
    assert 'http_request_duration_seconds_count{method="GET",route="unmatched",status="404"} 3.0' in text
    assert 'http_request_duration_seconds_count{method="GET",route="/livez",status="200"} 1.0' in text
    assert 'iot_build_info{version="' in text


def test_two_applications_keep_two_registries() -> None:
    """Breaks when metrics are registered globally, so that a second application fails or shares counts."""
    first, second = client(), client()
    first.get("/livez")
    assert 'route="/livez"' not in second.get("/metrics").get_data(as_text=True)


def test_the_page_without_a_store_says_so_and_loads_nothing_from_outside() -> None:
    """Breaks when quiet could be taken for healthy, or the page needs inline script, inline style or another server."""
    answer = client().get("/")
    page = answer.get_data(as_text=True)
    assert answer.status_code == 503
    assert "store does not answer" in page
    assert "No anomaly" not in page
    assert "style=" not in page
    assert "<style" not in page
    assert "<script>" not in page
    assert "://" not in page
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "unsafe" not in answer.headers["Content-Security-Policy"]


def test_openapi_describes_the_routes_and_the_catalogue() -> None:
    """Breaks when the document is not OpenAPI 3.1, or forgets a route, a parameter or a further sensor."""
    sensors = '[{"name": "latency", "unit": "ms"}]'
    spec = client(sensors=sensors).get("/openapi.json").get_json()
    assert spec["openapi"].startswith("3.1")
    assert {"/livez", "/readyz", "/api/latest_anomalies", "/api/outliers_count"} <= spec["paths"].keys()
    latest = spec["paths"]["/api/latest_anomalies"]["get"]
    assert latest["deprecated"] is True
    assert "latency" in latest["description"]
    (limit,) = latest["parameters"]
    assert (limit["schema"]["minimum"], limit["schema"]["maximum"], limit["schema"]["default"]) == (1, 1000, 10)
    items = latest["responses"]["200"]["content"]["application/json"]["schema"]["items"]
    assert {"latency", "noise_level", "mlflow_id"} <= items["properties"].keys()
    assert PROBLEM in latest["responses"]["default"]["content"]


def test_the_docs_load_nothing_from_outside() -> None:
    """Breaks when the page of the docs needs another server, inline script, or evaluated script."""
    answer = client().get("/docs")
    page = answer.get_data(as_text=True)
    assert answer.status_code == 200
    assert "://" not in page
    assert "<script>" not in page
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    files = re.findall(r'(?:src|href)="(/static/[^"]+)"', page)
    assert len(files) == 4
    for file in files:
        with client().get(file) as found:
            assert found.status_code == 200, file


def tokens_file(folder: Path, *lines: str) -> Path:
    place = folder / "tokens"
    place.write_text("\n".join(lines), encoding="utf-8")
    return place


def hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


@pytest.fixture
def guarded(tmp_path: Path) -> FlaskClient:
    """An application that asks for tokens."""
    file = tokens_file(tmp_path, "# comment", "", f"viewer:{hashed('v')}", f"admin:{hashed('a')}")
    return client(api_tokens_file=file)


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (None, 401),
        ("Bearer v", 503),
        ("bearer a", 503),
        ("Bearer x", 401),
        ("Bearer", 401),
        ("Bearer ", 401),
        ("Basic dg==", 401),
        ("v", 401),
        (f"Bearer {hashed('v')}", 401),
        ("Bearer " + "v" * 600, 401),
        ("Bearer \xff", 401),
    ],
)
def test_a_token_is_asked_for(guarded: FlaskClient, header: str | None, status: int) -> None:
    """Breaks when a route is open, a stored hash works as a token, or a good token is refused."""
    answer = guarded.get("/api/latest_anomalies", headers={"Authorization": header} if header else {})
    assert answer.status_code == status
    if status == 401:
        assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="')
        assert answer.content_type == PROBLEM


def test_every_address_but_livez_is_guarded(guarded: FlaskClient) -> None:
    """Breaks when a new route forgets to ask: the list is the application's own."""
    rules = [rule.rule.replace("<path:filename>", "plant.css") for rule in guarded.application.url_map.iter_rules()]
    assert len(rules) > 6
    open_ones = {"/livez": 200, "/login": 200}
    for path in [*rules, "/nowhere"]:
        assert guarded.get(path).status_code == open_ones.get(path, 401), path


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["# nothing"], "holds no token"),
        (["viewer:abc"], "line 1"),
        ([f"viewer:{'0' * 64}", f"root:{'0' * 64}"], "line 2"),
        ([f"viewer:{'A' * 64}"], "line 1"),
    ],
)
def test_a_bad_tokens_file_stops_the_start_without_showing_its_lines(
    tmp_path: Path, lines: list[str], said: str
) -> None:
    """Breaks when an API starts open, or prints secrets, because of a typing mistake."""
    with pytest.raises(SettingsError, match=said) as caught:
        client(api_tokens_file=tokens_file(tmp_path, *lines))
    assert "0000" not in str(caught.value)
    assert "AAAA" not in str(caught.value)
