"""`python -m local_stack run` as a user runs it: everything comes up, and whatever stops it, nothing stays behind."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from core.settings import PREFIX, Settings
from local_stack.servers.stack import Stack, endpoints_env
from tests.paths import ROOT
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(900)
START_SECONDS = 400.0
STOP_SECONDS = 150.0


class Run:
    """A `run` with a home, ports and output of its own."""

    def __init__(self, home: Path, **settings: object) -> None:
        self.home, self._output = home, home.with_suffix(".out")
        ports = dict.fromkeys((name for name in Settings.model_fields if name.endswith("_port")), 0)
        chosen = {"home": home, "forest_trees": 50, "stations": 3, **ports, **settings}
        self.env = {**os.environ, **{f"{PREFIX}{name.upper()}": str(value) for name, value in chosen.items()}}
        self._popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._output.open("wb") as output:
            self._popen = subprocess.Popen(
                self._command("run"), cwd=ROOT, env=self.env, stdout=output, stderr=subprocess.STDOUT
            )

    def other(self, verb: str) -> subprocess.CompletedProcess[str]:
        """Another command on the same home, in another terminal."""
        return subprocess.run(
            self._command(verb),
            cwd=ROOT,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
            timeout=STOP_SECONDS,
        )

    def wait_for(self, pattern: str) -> str:
        """Wait for a line and return its first group."""
        wait_until(
            lambda: self._ended() or re.search(pattern, self.text, re.MULTILINE) is not None, pattern, START_SECONDS
        )
        found = re.search(pattern, self.text, re.MULTILINE)
        assert found is not None, f"no {pattern!r} in\n{self.text}"
        return found.group(1)

    def stop(self, number: signal.Signals) -> int:
        """Send a signal and return the exit status."""
        assert self._popen is not None
        self._popen.send_signal(number)
        return self._popen.wait(STOP_SECONDS)

    def wait(self) -> int:
        assert self._popen is not None
        return self._popen.wait(START_SECONDS)

    @property
    def text(self) -> str:
        return self._output.read_text()

    def left(self) -> list[str]:
        """What still runs with this home in its environment, which every process of a run inherits."""
        return [f"{process.pid} {process.name()}" for process in psutil.process_iter() if self._is_mine(process)]

    def clear(self) -> None:
        """Leave nothing, whatever the test did."""
        for process in [process for process in psutil.process_iter() if self._is_mine(process)]:
            process.kill()
        if self._popen is not None:
            self._popen.wait(30)

    def _ended(self) -> bool:
        return self._popen is None or self._popen.poll() is not None

    def _is_mine(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(f"{PREFIX}HOME") == str(self.home)
        except psutil.Error:
            return False

    @staticmethod
    def _command(verb: str) -> list[str]:
        return [sys.executable, "-m", "local_stack", verb]


def get(url: str, path: str) -> tuple[int, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def answered(url: str, path: str) -> Any:
    try:
        status, body = get(url, path)
    except OSError:
        return None
    return json.loads(body) if status == 200 else None


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    mine = Run(tmp_path / "home")
    try:
        yield mine
    finally:
        mine.clear()


def test_it_comes_up_survives_a_crash_and_leaves_nothing(run: Run) -> None:
    """Breaks when a first start does not reach the page, a dead program stays dead, or Ctrl-C leaves a process."""
    run.start()
    url = run.wait_for(r"^page: (http://127\.0\.0\.1:\d+)/$")
    assert get(url, "/")[0] == 200
    # On a busy machine the page may be announced before the stream's first sign.
    wait_until(lambda: answered(url, "/readyz"), "readiness", START_SECONDS)
    wait_until(
        lambda: answered(url, "/api/latest_anomalies?limit=5") is not None, "the reference's route", START_SECONDS
    )

    refused = run.other("run")
    assert refused.returncode == 1
    assert "in use by another `run`" in refused.stderr

    api = json.loads((run.home / "run" / "api.json").read_text())["pid"]
    psutil.Process(api).kill()
    run.wait_for(r"^(api ended by signal 9)")
    wait_until(lambda: answered(url, "/livez"), "the API again, where it was", START_SECONDS)

    assert run.stop(signal.SIGTERM) == 0, run.text
    assert run.left() == []
    sent, acknowledged = re.findall(r"^stations: sent=(\d+) acknowledged=(\d+)", run.text, re.MULTILINE)[0]
    assert sent == acknowledged != "0"

    # What a killed `run` leaves is found by `down`; and what was learnt is not learnt again.
    trained = (run.home / "logs" / "train.log").read_text()
    assert "version 1 is champion (" in trained
    run.start()
    run.wait_for(r"^(schema): ")
    wait_until(lambda: (run.home / "run" / "stations.json").exists(), "the stations", START_SECONDS)
    run.stop(signal.SIGKILL)
    assert len(run.left()) >= 4, "servers, API, stream and stations outlive it"
    assert "is champion already" in (run.home / "logs" / "train.log").read_text()
    down = run.other("down")
    assert down.returncode == 0, down.stderr
    assert "stream: left behind by an earlier run, stopping" in down.stdout
    assert run.left() == []


def test_a_start_that_fails_says_why_and_stops_everything(stack: Stack, settings: Settings, tmp_path: Path) -> None:
    """Breaks when a failed training hangs or half starts; or own Kafka and Cassandra are started a second time."""
    own = {**endpoints_env(stack.endpoints()), f"{PREFIX}CASSANDRA_KEYSPACE": settings.cassandra_keyspace}
    run = Run(tmp_path / "home", training_readings=tmp_path / "nothing.csv", readings_topic=settings.readings_topic)
    run.env |= own
    try:
        run.start()
        assert run.wait() == 1
        assert "train ended with exit status 2" in run.text
        assert "nothing.csv" in run.text
        assert "Traceback" not in run.text
        assert run.left() == []
        assert not (run.home / "stack" / "kafka").exists()
        assert all(well for _, well in stack.status()), "the user's own servers are left alone"
    finally:
        run.clear()
