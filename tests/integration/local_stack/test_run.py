"""`python -m local_stack run` as a user runs it: everything comes up, and whatever stops it, nothing stays behind."""

from __future__ import annotations

import http.client
import json
import re
import signal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from core.settings import PREFIX, Settings
from local_stack.servers.stack import Stack, endpoints_env
from tests.integration.local_stack.run_plant import START_SECONDS, Run
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(900)


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


def test_it_comes_up_survives_a_crash_and_leaves_nothing(live_run: Run) -> None:
    """Breaks when a first start does not reach the page, a dead program stays dead, or Ctrl-C leaves a process."""
    run = live_run
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
