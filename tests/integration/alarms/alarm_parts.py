"""The parts around the alarms process: a stream's stored rows, a real Alertmanager, a webhook receiver."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from core.settings import Settings
from storage.driver.session import Store
from storage.tables.anomalies import write_anomalies
from storage.tables.stations import StationRow, write_stations
from storage.tables.stream_progress import heartbeat, mark_complete, mark_started
from tests.integration.api_plant import anomaly_row
from tests.oracle.job import env_of
from tests.oracle.processes import Running, start
from tests.waiting import wait_until

PROGRAM = "prometheus-alertmanager"
MISSING = "needs an Alertmanager: apt-get install prometheus-alertmanager"
GROUP_WAIT_SECONDS = 1
GROUP_INTERVAL_SECONDS = 1


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Feeder:
    """Stores what the stream would of one station on one partition, one reading a second up to now.

    Args:
        store: where to.
        topic: of the readings.
        station: its id.
        partition: of Kafka.
    """

    def __init__(self, store: Store, topic: str, station: str, partition: int = 0) -> None:
        self.store, self.topic, self.station, self.partition = store, topic, station, partition
        self.ordinal = self.offset = 0

    def send(self, flagged: list[bool], severity: float = 82.5, end_ms: int | None = None, **changes: Any) -> None:
        """One batch: a reading each, those that are true abnormal; the last one reached Kafka at `end_ms`, or now."""
        end_ms = now_ms() if end_ms is None else end_ms
        first = self.offset
        mark_started(self.store, self.topic, {self.partition: first + len(flagged)})
        rows = []
        for place, bad in enumerate(flagged):
            at_ms = end_ms - 1000 * (len(flagged) - 1 - place)
            if bad:
                row = anomaly_row(self.station, at_ms, first + place, severity, ordinal=self.ordinal + place + 1)
                arrived = {"kafka_partition": self.partition, "kafka_offset": first + place, "record_ms": at_ms}
                rows.append(row._replace(**arrived, **changes))
        write_anomalies(self.store, rows)
        self.ordinal += len(flagged)
        self.offset += len(flagged)
        self.heard(end_ms)
        mark_complete(self.store, self.topic, {self.partition: self.offset}, 7)
        heartbeat(self.store, self.topic, now_ms())

    def heard(self, at_ms: int) -> None:
        """The station's row, as of a reading that reached Kafka at `at_ms`."""
        write_stations(self.store, [StationRow(self.station, at_ms, at_ms, self.ordinal, 1.0, {"noise": 41.25}, {})])


@contextmanager
def alarms_of(settings: Settings) -> Iterator[Running]:
    """`python -m alarms`, of which nothing is left at the end."""
    process = begin_alarms(settings)
    try:
        yield process
    finally:
        if process.family():
            process.kill()


def begin_alarms(settings: Settings) -> Running:
    """Start `python -m alarms`."""
    return start("alarms", ["-m", "alarms"], env_of(settings), settings.home / "alarms.log")


class Webhook:
    """Takes Alertmanager's notifications; it may go down and come back at the same port.

    Args:
        port: to listen on.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.taken: list[tuple[float, dict[str, Any]]] = []
        self._server: ThreadingHTTPServer | None = None

    def up(self) -> None:
        """Begin to take notifications."""
        taken = self.taken

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                taken.append((time.time(), json.loads(body)))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def down(self) -> None:
        """Refuse connections."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def of(self, station: str, status: str = "firing") -> list[tuple[float, dict[str, Any]]]:
        """When and what of notifications that hold an alert of this station in this status."""
        return [
            (at, alert)
            for at, document in self.taken
            for alert in document["alerts"]
            if alert["labels"]["station"] == station and alert["status"] == status
        ]


class RealAlertmanager:
    """Debian's Alertmanager with a receiver that is a webhook.

    Args:
        folder: of its configuration and data.
        webhook: where it notifies.
    """

    def __init__(self, folder: Path, webhook: Webhook) -> None:
        self._folder, self._port = folder, free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None
        port = webhook.port
        configuration = {
            "route": {
                "receiver": "hook", "group_by": ["alertname", "station"], "group_wait": f"{GROUP_WAIT_SECONDS}s",
                "group_interval": f"{GROUP_INTERVAL_SECONDS}s", "repeat_interval": "4h",
            },
            "receivers": [
                {"name": "hook", "webhook_configs": [{"url": f"http://127.0.0.1:{port}/", "send_resolved": True}]}
            ],
        }  # fmt: skip
        (folder / "alertmanager.yml").write_text(json.dumps(configuration))  # JSON is YAML

    def up(self) -> None:
        """Start it, with what it knew when it was last stopped."""
        command = [
            PROGRAM, f"--config.file={self._folder / 'alertmanager.yml'}", f"--storage.path={self._folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}", "--cluster.listen-address=",
        ]  # fmt: skip
        with (self._folder / "alertmanager.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(self._ready, "Alertmanager is ready")

    def down(self) -> None:
        """Stop it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def alerts(self) -> list[dict[str, Any]]:
        """What it knows."""
        return list(requests.get(f"{self.url}/api/v2/alerts", timeout=10).json())

    def silence(self, station: str) -> str:
        """Silence a station as a person there would; returns the silence's id."""
        rfc3339 = "%Y-%m-%dT%H:%M:%SZ"
        document = {
            "matchers": [{"name": "station", "value": station, "isRegex": False, "isEqual": True}],
            "startsAt": time.strftime(rfc3339, time.gmtime()),
            "endsAt": time.strftime(rfc3339, time.gmtime(time.time() + 3600)),
            "createdBy": "a test", "comment": "being repaired",
        }  # fmt: skip
        answer = requests.post(f"{self.url}/api/v2/silences", json=document, timeout=10)
        answer.raise_for_status()
        return str(answer.json()["silenceID"])

    def _ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/-/ready", timeout=5).status_code == 200
        except requests.RequestException:
            return False


@contextmanager
def notified(folder: Path) -> Iterator[tuple[RealAlertmanager, Webhook]]:
    """A running Alertmanager and its receiver."""
    if shutil.which(PROGRAM) is None:
        if os.environ.get("CI") == "true":
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    webhook = Webhook(free_port())
    alertmanager = RealAlertmanager(folder, webhook)
    webhook.up()
    try:
        alertmanager.up()
        yield alertmanager, webhook
    finally:
        alertmanager.down()
        webhook.down()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
