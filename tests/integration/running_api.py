"""`python -m api` as tests start it: one process group, real sockets."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from core.settings import PREFIX
from local_stack.servers.stack import Endpoints, endpoints_env
from tests.paths import ROOT
from tests.waiting import wait_until

STOP_SECONDS = 60.0


class Answer(NamedTuple):
    """What came back, and after how many seconds."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    seconds: float

    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


class Running(NamedTuple):
    """A started API."""

    process: subprocess.Popen[str]
    port: int
    home: Path

    def get(self, path: str, timeout: float = 60.0, token: str | None = None) -> Answer:
        """Ask on a connection of its own."""
        begun = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read(), time.monotonic() - begun)
        finally:
            connection.close()

    def slowest(self, paths: Sequence[str], times: int = 1) -> float:
        """Seconds of the slowest answer when all these are asked at once: how fast this machine is at the moment."""
        with ThreadPoolExecutor(len(paths) * times) as clients:
            return max(answer.seconds for answer in clients.map(self.get, [*paths] * times))

    def raw(self, request: bytes) -> bytes:
        """Send bytes as they are and read until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60.0) as plain:
            plain.sendall(request)
            return b"".join(iter(lambda: plain.recv(65536), b""))


def start(endpoints: Endpoints, home: Path, keyspace: str, **named: str) -> Running:
    """Start it on a free port; `named` are further variables, without prefix."""
    wanted = {"HOME": str(home), "CASSANDRA_KEYSPACE": keyspace, "API_PORT": "0"} | named
    env = os.environ | endpoints_env(endpoints) | {f"{PREFIX}{name}": value for name, value in wanted.items()}
    with (home / "api.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "api"], cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        assert line.startswith("api: http://127.0.0.1:"), (line, (home / "api.log").read_text())
        assert json.loads((home / "api.json").read_text()) == {"url": line.removeprefix("api: ")}
        return Running(process, int(line.rpartition(":")[2]), home)
    except BaseException:
        stop(process)
        raise


@contextmanager
def running(
    endpoints: Endpoints, home: Path, keyspace: str, token: str | None = None, **named: str
) -> Iterator[Running]:
    """An API whose store answers, stopped at the end; `token` is one it knows, if it asks for them."""
    api = start(endpoints, home, keyspace, **named)
    try:
        wait_until(lambda: _store_answers(api, token), "the API reaches Cassandra")
        yield api
    finally:
        stop(api.process)


def _store_answers(api: Running, token: str | None) -> bool:
    try:
        return bool(api.get("/readyz?verbose", token=token).json()["checks"][0]["ok"])
    except OSError:  # a busy machine
        return False


def stop(process: subprocess.Popen[str]) -> int:
    """End it as `local_stack` does; returns its exit status."""
    with process:
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def hold(holds: Callable[[], bool], seconds: float) -> None:
    """Assert that a condition holds for some time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert holds()
        time.sleep(0.2)
