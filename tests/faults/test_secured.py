"""The whole path with passwords and TLS: stations, Kafka, stream, Cassandra, API. The passwords show nowhere."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from local_stack.downloads.jars import spark_kafka_jars
from tests.oracle.job import api_of, env_of, make_schema, rows_of, stream_of, train
from tests.oracle.kafka_log import end_offsets
from tests.oracle.processes import run
from tests.oracle.tables import session_of
from tests.secured import make_secrets, own_topics, secured_stack

STATIONS, SECONDS, CADENCE = 10, 20, 0.2

pytestmark = [pytest.mark.timeout(1200), pytest.mark.slow]


def test_the_whole_path_with_passwords_and_tls(history: Path, tmp_path: Path) -> None:
    """Breaks when a process opens Kafka or Cassandra without the login, or shows a password."""
    home = tmp_path / "home"
    (secret := tmp_path / "secrets").mkdir()
    made = make_secrets(secret)
    with (
        nobody_shows(made.words()) as seen,
        secured_stack(home, made) as (_, servers),
        session_of(servers) as session,
    ):
        jars = ",".join(map(str, spark_kafka_jars(servers.cache)))
        settings = own_topics(servers, uuid.uuid4().hex[:10]).model_copy(
            update={"spark_jars": jars, "forest_trees": 50, "stream_metrics_port": 0, "api_port": 0}
        )
        make_schema(settings)
        train(settings, history, seed=1)
        with stream_of(settings, session, "stream") as job, api_of(settings) as url:
            job.start()
            numbers = ["--stations", str(STATIONS), "--duration", f"{SECONDS}s", "--cadence", f"{CADENCE}s"]
            run("stations", ["-m", "iot_simulator", *numbers], env_of(settings), home / "stations.log", 120)
            job.wait_until_drained()
            sent = sum(end_offsets(settings.kafka_client_options(), settings.readings_topic).values())
            assert len(rows_of(session, settings, "readings")) == sent >= 0.9 * STATIONS * SECONDS / CADENCE
            ready = requests.get(f"{url}/readyz?verbose", timeout=30)
            listed = requests.get(f"{url}/api/v1/stations", timeout=30).json()
            assert str(STATIONS - 1) in str(listed) and "station-" in str(listed)
            assert not any(word in ready.content for word in made.words())
            job.stop()
    assert seen == []
    assert shown_in(home, made.words()) == []


@contextmanager
def nobody_shows(words: Sequence[bytes]) -> Iterator[list[str]]:
    """Watch the command lines of all processes of the machine; what shows a word is in the list."""
    seen: list[str] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.05):
            for place in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = place.read_bytes()
                except OSError:
                    continue
                if any(word in line for word in words):
                    seen.append(f"{time.time():.0f} {line[:60]!r}")

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def shown_in(folder: Path, words: Sequence[bytes]) -> list[str]:
    """Every file below a folder that holds a word: logs, configuration, checkpoint, the servers' data."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.suffix == ".log" for path in files)
    return [str(path) for path in files if any(word in path.read_bytes() for word in words)]
