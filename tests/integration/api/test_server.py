"""The API as it is started for real: one process group, real sockets, a Cassandra that stops answering."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from core.settings import PREFIX
from local_stack.servers.stack import Stack
from tests.integration.running_api import ROOT, Running, hold, running, start, stop
from tests.keyspaces import Keyspaces
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def api(keyspaces: Keyspaces, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """`python -m api` on a free port, on tables of its own."""
    home = tmp_path_factory.mktemp("home")
    with (
        keyspaces.lent(home=home) as mine,
        running(keyspaces.stack.endpoints(), home, mine.cassandra_keyspace) as api,
    ):
        yield api


def test_a_paused_cassandra_costs_nobody_more_than_two_seconds(stack: Stack, api: Running) -> None:
    """Breaks when silent TCP holds the threads: a client waits longer, /livez queues behind, or it never recovers."""
    paths = ["/api/latest_anomalies", "/api/outliers_count?time_range=30d", "/", "/readyz"]
    # What the machine takes for such requests while Cassandra answers: a busy one gets this much more time. Others than
    # those below, whose answers would be shared for a second.
    usual = 2 * api.slowest(["/api/latest_anomalies?limit=3", "/api/outliers_count?time_range=29d", "/livez"], 13)
    stack.pause("cassandra")
    try:
        # More at once than the server has threads: the first wait for the driver, the others must not wait for them.
        with ThreadPoolExecutor(40) as clients:
            asked = [clients.submit(api.get, paths[number % 4]) for number in range(12)]
            alive = api.get("/livez")
            answers = [one.result() for one in asked]
            assert alive.status == 200
            assert alive.seconds < 1.0 + usual
            assert {answer.status for answer in answers} == {503}
            assert max(answer.seconds for answer in answers) < 2.0 + usual
            assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers)
            later = [one.result() for one in [clients.submit(api.get, paths[number % 4]) for number in range(40)]]
        assert {answer.status for answer in later} == {503}
        assert max(answer.seconds for answer in later) < 1.5 + usual
        assert api.get("/livez").seconds < 1.0 + usual
        # Long enough that the driver declares the host dead, which is what has to be undone.
        hold(lambda: api.get("/api/latest_anomalies").status == 503, 12)
    finally:
        stack.resume("cassandra")
    wait_until(lambda: api.get("/api/latest_anomalies").status == 200, "it serves again")
    assert api.get("/").status == 200


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (b"GET /" + b"a" * 3000 + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 414),
        (b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 200 + b"\r\n", 431),
        (b"GET /livez HTTP/1.1\r\nBad Header: a\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: strange\r\n\r\n", 501),
        (b"GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\n\r\n", 413),
        (b"GET /livez HTTP/9.9\r\nHost: localhost\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_is_answered_as_a_problem(api: Running, request_bytes: bytes, status: int) -> None:
    """Breaks when the server answers with its own HTML, which quotes the exception and the client's bytes."""
    head, _, body = api.raw(request_bytes).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), head
    assert b"application/problem+json" in head
    document = json.loads(body)
    assert document["status"] == status
    assert f"X-Request-Id: {document['instance']}".encode() in head


def test_it_stays_small(api: Running) -> None:
    """Breaks when a route imports Spark, MLflow, pandas or scikit-learn: the laptop runs the whole stack in 4 GiB."""
    parent = psutil.Process(api.process.pid)
    used = sum(process.memory_info().rss for process in [parent, *parent.children()])
    assert len(parent.children()) == 1
    assert used < 250 * MEBIBYTE, f"{used / MEBIBYTE:.0f} MiB"


def test_sigterm_stops_it_and_takes_its_address_back(stack: Stack, tmp_path: Path) -> None:
    """Breaks when a stopped API leaves a process or an address behind that someone else would trust."""
    running = start(stack.endpoints(), tmp_path, "test_no_such_keyspace")
    children = psutil.Process(running.process.pid).children()
    assert running.get("/livez").status == 200
    assert running.get("/readyz").status == 503
    assert stop(running.process) == 0
    assert not (tmp_path / "api.json").exists()
    assert not any(child.is_running() for child in children)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"API_HOST": "0.0.0.0"}, "TOKENS_FILE"), ({"API_TOKENS_FILE": "/nonexistent"}, "cannot be read")],  # noqa: S104
)
def test_it_refuses_to_start_open(tmp_path: Path, changes: dict[str, str], said: str) -> None:
    """Breaks when an API that others can reach starts without tokens."""
    named = {f"{PREFIX}{name}": value for name, value in ({"HOME": str(tmp_path)} | changes).items()}
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "api"], cwd=ROOT, env=os.environ | named, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_clients_that_send_nothing_or_drip_do_not_keep_others_waiting(api: Running) -> None:
    """Breaks when 200 slow connections occupy the threads that would answer, or are never let go."""
    paths = ("/livez", "/api/latest_anomalies")
    usual = 5 * api.slowest(paths)
    silent = [socket.create_connection(("127.0.0.1", api.port), timeout=30.0) for _ in range(100)]
    dripping = [socket.create_connection(("127.0.0.1", api.port), timeout=30.0) for _ in range(100)]
    try:
        for at, drip in enumerate(dripping):
            body = b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{"
            drip.sendall(body if at % 2 else b"GET /livez HTTP/1.1\r\nHost: loc")
        for _ in range(10):
            for path in paths:
                answer = api.get(path)
                assert answer.status == 200 and answer.seconds < 1.0 + usual, answer
        assert dripping[0].recv(1000) == b"", "cut off after the time that a request may take"
        assert silent[0].recv(1000) == b""
    finally:
        for one in silent + dripping:
            one.close()
    assert api.get("/livez").seconds < 1.0 + usual
