"""Schemathesis against `python -m api`: whatever is sent, no 5xx, and nothing the OpenAPI document does not promise."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from api.security.tokens import hashed
from core.settings import Settings
from local_stack.servers.stack import Endpoints
from models.scoring.history import History
from models.training.train_steps import fit
from storage.driver.session import StoreConfig, connect
from storage.tables import artefacts
from storage.tables.anomalies import write_anomalies
from storage.tables.readings import ReadingRow, write_readings
from storage.tables.stations import StationRow, write_stations
from storage.tables.stream_progress import heartbeat, mark_complete
from tests.integration.api_plant import HOUR_MS, NOW_MS, anomaly_row
from tests.integration.running_api import Running, running
from tests.keyspaces import Keyspaces
from tests.waiting import wait_until

CONFIG = Path(__file__).with_name("schemathesis.toml")
PROGRAM = Path(sys.executable).with_name("schemathesis")
STATION = "station-0007"
# Of every operation; the boundaries of the coverage phase come on top.
EXAMPLES = 60
MANY_EXAMPLES = 900


@pytest.fixture(scope="module")
def api(keyspaces: Keyspaces, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An API with a token, a model, one station and some anomalies."""
    home = tmp_path_factory.mktemp("home")
    with keyspaces.lent(home=home) as settings, served(settings, keyspaces.stack.endpoints()) as started:
        yield started


@contextmanager
def served(settings: Settings, endpoints: Endpoints) -> Iterator[Running]:
    """Fill the tables and start the API."""
    home = settings.home
    (home / "tokens").write_text(f"admin:{hashed('secret')}\n")
    store = connect(StoreConfig.from_settings(settings))
    try:
        rng = np.random.default_rng(5)
        times = np.repeat(NOW_MS + np.arange(400) * 1000, 5)
        values = np.round(rng.normal(20.0, 1.0, (2000, 3)), 1)
        history = History([f"s{at % 5}" for at in range(2000)], times, times, np.repeat(np.arange(400), 5), values)
        trained = fit(history, settings.sensors, trees=20, budget=1.0, seed=5)
        sha256 = artefacts.put_artefact(store, "detector", trained.artefact)
        artefacts.put_version(store, settings.model_name, 7, sha256, "run-7", NOW_MS)
        write_anomalies(store, [anomaly_row(STATION, NOW_MS - at * HOUR_MS // 10, at) for at in range(200)])
        write_stations(store, [StationRow(STATION, NOW_MS, NOW_MS, 10, 1.0, {"temperature": 21.4}, {})])
        reading = ReadingRow(STATION, NOW_MS, 1, {"temperature": 21.4}, 0.7, 0.0, 0, 7, 0, 1, NOW_MS, NOW_MS)
        write_readings(store, [reading])
        mark_complete(store, settings.readings_topic, {0: 200}, 7)
        heartbeat(store, settings.readings_topic, NOW_MS)
    finally:
        store.close()
    named = {
        "API_TOKENS_FILE": str(home / "tokens"),
        "API_REQUESTS_PER_MINUTE": "0",
        "API_STALE_SECONDS": "100000",
        "LOG_LEVEL": "WARNING",
    }
    with running(endpoints, home, settings.cassandra_keyspace, token="secret", **named) as started:  # noqa: S106
        # The first one loads the model, and compiles it where nobody has before.
        wait_until(lambda: predicted(started) == 200, "the API predicts", 300)
        yield started


def predicted(api: Running) -> int:
    """The status of one prediction."""
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=120)
    headers = {"Authorization": "Bearer secret", "Content-Type": "application/json"}
    try:
        connection.request("POST", "/api/v1/predict", b'{"temperature": 21, "humidity": 48, "noise": 61}', headers)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.timeout(1800)
def test_no_request_breaks_the_contract(api: Running, tmp_path: Path) -> None:
    """Breaks when some input ends in a 5xx, or in a status, type, header or document that is not promised."""
    assert fuzz(api, tmp_path, EXAMPLES, seed=1) >= 2000


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_request_of_very_many_breaks_the_contract(api: Running, tmp_path: Path) -> None:
    """Breaks for the rarer inputs; each run draws others and prints its seed."""
    assert fuzz(api, tmp_path, MANY_EXAMPLES, seed=int.from_bytes(os.urandom(4))) >= 20_000


def fuzz(api: Running, folder: Path, examples: int, seed: int) -> int:
    """Run every check over every operation; returns the number of cases."""
    command = [
        str(PROGRAM), "--config-file", str(CONFIG), "run", f"http://127.0.0.1:{api.port}/openapi.json",
        "--header", "Authorization: Bearer secret",
        "--checks", "all", "--phases", "examples,coverage,fuzzing", "--max-examples", str(examples),
        "--seed", str(seed), "--request-timeout", "10", "--continue-on-failure", "--no-shrink",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    print(done.stdout[-4000:])
    assert done.returncode == 0, done.stdout[:20_000] + done.stderr[-2000:]
    generated = re.search(r"([\d,]+) generated", done.stdout)
    assert generated
    return int(generated[1].replace(",", ""))
