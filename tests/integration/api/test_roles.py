"""Who may do what: every operation of the OpenAPI document with every role, in the file and in Cassandra."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from api.app import create_app, store_handle
from api.security.tokens import Role, hashed
from core.settings import PREFIX, Settings
from local_stack.servers.stack import Stack, endpoints_env
from tests.integration.running_api import ROOT
from tests.keyspaces import Keyspaces
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

PROBLEM = "application/problem+json"
MADE = re.compile(r"shown only here: (\S+)")


@pytest.fixture(scope="module")
def guarded(keyspaces: Keyspaces, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, FlaskClient]]:
    """The application with a token per role in its file (the role's name), and with those of Cassandra."""
    home = tmp_path_factory.mktemp("home")
    file = home / "tokens"
    file.write_text("".join(f"{role.name.lower()}:{hashed(role.name)}\n" for role in Role))
    tokens = {"api_tokens_file": file, "api_tokens_in_store": True, "api_requests_per_minute": 0}
    with keyspaces.lent(home=home, **tokens) as mine:
        handle = store_handle(mine)
        handle.start()
        client = create_app(mine, handle).test_client()
        counts = "/api/v1/counts?time_range=1h"
        wait_until(lambda: client.get(counts, headers=bearer("ADMIN")).status_code == 200, "the API serves")
        yield mine, client
        handle.close()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_every_operation_asks_every_role(guarded: tuple[Settings, FlaskClient]) -> None:
    """Breaks when a route is open, a lower role may do what a higher one should, or a higher one may not."""
    _, client = guarded
    document = client.get("/openapi.json", headers=bearer("VIEWER")).get_json()
    matrix = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            needed = operation.get("x-required-role")
            if needed is None:
                assert path == "/livez"
                continue
            url = re.sub(r"\{\w+\}", "x", path)
            anonymous = client.open(url, method=method)
            assert (anonymous.status_code, anonymous.content_type) == (401, PROBLEM), path
            assert anonymous.headers["WWW-Authenticate"].startswith("Bearer ")
            for role in Role:
                # The head alone: the stream of anomalies would not end.
                asked = "HEAD" if method == "get" else method
                answer = client.open(url, method=asked, headers=bearer(role.name))
                allowed = role >= Role[needed.upper()]
                assert (answer.status_code not in (401, 403)) == allowed, (method, path, role)
                matrix.append((method, path, role))
    assert len(matrix) > 60
    needed = {operation.get("x-required-role") for found in document["paths"].values() for operation in found.values()}
    assert {"viewer", "operator", "data_scientist"} <= needed


def test_changes_need_an_operator_and_predictions_do_not(guarded: tuple[Settings, FlaskClient]) -> None:
    """Breaks when the matrix itself is wrong: it is generated from the same table that the application asks."""
    _, client = guarded
    assert client.post("/api/v1/anomalies/x/feedback", headers=bearer("VIEWER")).status_code == 403
    assert client.post("/api/v1/anomalies/x/feedback", headers=bearer("OPERATOR")).status_code not in (401, 403)
    assert client.post("/api/v1/jobs", headers=bearer("OPERATOR")).status_code == 403
    assert client.post("/api/v1/models/3:promote", headers=bearer("OPERATOR")).status_code == 403
    assert client.post("/api/v1/predict", headers=bearer("VIEWER")).status_code not in (401, 403)
    assert client.get("/metrics", headers=bearer("VIEWER")).status_code == 200
    assert client.get("/nowhere").status_code == 401


def test_tokens_of_cassandra_are_made_shown_and_revoked(stack: Stack, guarded: tuple[Settings, FlaskClient]) -> None:
    """Breaks when a token made by the command is unknown, is stored as it is, or works on after it was revoked."""
    mine, client = guarded

    def command(*arguments: str) -> str:
        named = endpoints_env(stack.endpoints()) | {f"{PREFIX}CASSANDRA_KEYSPACE": mine.cassandra_keyspace}
        done = subprocess.run(
            [sys.executable, "-m", "api.security.token_command", *arguments],
            cwd=ROOT,
            env=named,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    found = MADE.search(command("add", "viewer", "grafana"))
    assert found
    wait_until(
        lambda: client.get("/api/v1/counts?time_range=1h", headers=bearer(found[1])).status_code == 200,
        "the token is known",
    )
    assert client.post("/api/v1/jobs", headers=bearer(found[1])).status_code == 403
    listed = command("list")
    assert "grafana  viewer" in listed
    assert found[1] not in listed
    command("revoke", "grafana")
    wait_until(
        lambda: client.get("/api/v1/counts?time_range=1h", headers=bearer(found[1])).status_code == 401,
        "the token is refused",
    )


def test_people_log_in_and_out_and_other_sites_cannot_use_their_session(guarded: tuple[Settings, FlaskClient]) -> None:
    """Breaks when the cookie holds the token, goes to other sites, outlives the way out, or is taken when forged."""
    mine, _ = guarded
    handle = store_handle(mine)
    handle.start()
    try:
        browser = create_app(mine, handle).test_client()
        wait_until(lambda: browser.get("/login").status_code == 200, "the API serves")
        html = {"Accept": "text/html"}
        asked = browser.get("/stations/station-1?wall=1", headers=html)
        assert (asked.status_code, asked.headers["Location"]) == (303, "/login?next=/stations/station-1%3Fwall%3D1")
        assert "form-action 'self'" in browser.get("/login").headers["Content-Security-Policy"]
        for file in ("base.css", "login.css", "icon.svg"):
            with browser.get(f"/static/{file}") as served:
                assert served.status_code == 200
        refused = browser.post("/login", data={"token": "wrong", "next": "/"})
        assert (refused.status_code, "not known" in refused.get_data(as_text=True)) == (401, True)
        entered = browser.post("/login", data={"token": "OPERATOR", "next": "//evil.example/"})
        assert (entered.status_code, entered.headers["Location"]) == (303, "/")
        cookie = entered.headers["Set-Cookie"]
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
        assert "OPERATOR" not in cookie
        page = browser.get("/", headers=html)
        assert page.status_code in (200, 503)
        assert 'action="/logout"' in page.get_data(as_text=True)
        assert "form-action 'self'" in page.headers["Content-Security-Policy"]
        own = {"Origin": "http://localhost"}
        assert browser.post("/api/v1/anomalies/x/feedback", headers=own).status_code not in (401, 403)
        assert browser.post("/api/v1/jobs", headers=own).status_code == 403
        for foreign in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
            answer = browser.post("/api/v1/anomalies/x/feedback", headers=foreign)
            assert (answer.status_code, answer.get_json()["type"].endswith("foreign-origin")) == (403, True)
        browser.post("/logout", headers=own)
        assert browser.get("/api/v1/counts?time_range=1h").status_code == 401
        browser.set_cookie("stationwatch_session", cookie.split("=", 1)[1].split(";")[0][:-3] + "xyz")
        assert browser.get("/api/v1/counts?time_range=1h").status_code == 401
    finally:
        handle.close()


def test_a_file_line_can_be_made_without_cassandra(tmp_path: Path) -> None:
    """Breaks when the line that the command prints is not the one the file takes."""
    command = [sys.executable, "-m", "api.security.token_command", "line", "operator"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    made, line = MADE.search(done.stdout), re.search(r"operator:[0-9a-f]{64}", done.stdout)
    assert made
    assert line
    assert line[0] == f"operator:{hashed(made[1])}"
