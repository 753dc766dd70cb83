"""The processes of the proof: schema, training, the stream, the API, each with the settings of one test."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import psutil
from cassandra.cluster import Session

from core.settings import PREFIX, Settings
from tests.oracle.bad_records import rfc3339
from tests.oracle.kafka_log import end_offsets
from tests.oracle.processes import Running, run, running, start
from tests.oracle.stream_input import SENSORS, Shape, walks
from tests.oracle.tables import Row, scan

TRAINING = Shape(stations=20, ticks=900, seed=11)
COMMAND_SECONDS = 240
DRAIN_SECONDS = 300  # starting Spark alone takes two minutes on a busy machine
STOP_SECONDS = 60


def env_of(settings: Settings) -> dict[str, str]:
    """All settings as environment variables, so that nothing around the test shines through."""
    plain = {name: getattr(settings, name) for name in type(settings).model_fields}
    plain["sensors"] = json.dumps([asdict(sensor) for sensor in settings.sensors])
    plain["station_groups"] = json.dumps(settings.station_groups)
    return {f"{PREFIX}{name.upper()}": "" if value is None else str(value) for name, value in plain.items()}


class Job:
    """The stream of one keyspace: it can be started, killed, drained and stopped, again and again.

    Args:
        settings: of the stream, with the jars of the Kafka source.
        session: the oracle's own.
        name: of its log file in the home folder.
    """

    def __init__(self, settings: Settings, session: Session, name: str) -> None:
        """Nothing is started yet."""
        self.settings, self.name = settings, name
        self.session = session
        self._process: Running | None = None

    @property
    def process(self) -> Running:
        """The running stream."""
        assert self._process is not None, "start() first"
        return self._process

    def start(self) -> None:
        """Start the driver."""
        log = self.settings.home / f"{self.name}.log"
        self._process = start(self.name, ["-m", "spark_jobs.detect_anomalies"], env_of(self.settings), log)

    def progress(self) -> dict[int, tuple[int, int]]:
        """Kafka partition → (complete_to, started_to)."""
        rows = scan(self.session, self.settings.cassandra_keyspace, "stream_progress")
        mine = [row for row in rows if row["topic"] == self.settings.readings_topic and row["kafka_partition"] >= 0]
        return {row["kafka_partition"]: (row["complete_to"] or 0, row["started_to"] or 0) for row in mine}

    def in_a_batch(self) -> bool:
        """Whether a batch was begun and is not complete."""
        return any(started > complete for complete, started in self.progress().values())

    def stored(self) -> int:
        """How many offsets are complete, over all partitions."""
        return sum(complete for complete, _ in self.progress().values())

    def drained(self) -> bool:
        """Whether everything that Kafka holds is complete."""
        ends = end_offsets(self.settings.kafka_client_options(), self.settings.readings_topic)
        done = self.progress()
        return all(done.get(partition, (0, 0))[0] == end for partition, end in ends.items())

    def wait_until_drained(self) -> None:
        """Wait for `drained`."""
        self.process.wait_until("complete_to at the end of Kafka", self.drained, DRAIN_SECONDS)

    def kill_in_a_batch(self) -> None:
        """SIGKILL the driver and its workers while a batch is begun and not complete."""
        self.process.wait_until("batch to kill", self.in_a_batch, DRAIN_SECONDS)
        self.process.kill()

    def kill_workers_in_a_batch(self) -> list[int]:
        """SIGKILL the Python workers, and only them, in the middle of a batch; return their pids."""
        self.process.wait_until(
            "batch with workers", lambda: self.in_a_batch() and bool(self.process.workers()), DRAIN_SECONDS
        )
        killed = []
        for worker in self.process.workers():
            try:
                worker.kill()
                killed.append(worker.pid)
            except psutil.NoSuchProcess:
                continue
        return killed

    def stop(self) -> None:
        """SIGTERM; the driver must end well."""
        status = self.process.stop(STOP_SECONDS)
        assert status == 0, f"the stream ended with {status}\n{self.process.tail()}"

    def make_away(self) -> None:
        """Leave nothing running."""
        if self._process is not None and self._process.family():
            self._process.kill()


@contextmanager
def stream_of(settings: Settings, session: Session, name: str) -> Iterator[Job]:
    """A job of which nothing is left at the end, whatever happens."""
    job = Job(settings, session, name)
    try:
        yield job
    finally:
        job.make_away()


def make_schema(settings: Settings) -> None:
    """Create keyspace and tables."""
    command(settings, "schema", "-m", "storage", "schema")


def copy_judging(settings: Settings, to: str) -> None:
    """Give another keyspace the same judges."""
    command(settings, "copy", "-m", "storage", "copy-judging", settings.cassandra_keyspace, to)


def train(settings: Settings, history: Path, seed: int) -> None:
    """Train, register, and make it champion."""
    command(settings, "train", "-m", "models.train", "--readings", str(history), "--seed", str(seed))


def command(settings: Settings, name: str, *arguments: str) -> None:
    """Run one of the project's commands to its end."""
    run(name, arguments, env_of(settings), settings.home / f"{name}.log", COMMAND_SECONDS)


@contextmanager
def api_of(settings: Settings) -> Iterator[str]:
    """The API of a keyspace; its base URL."""
    log, place = settings.home / "api.log", settings.home / "api.json"
    place.unlink(missing_ok=True)
    with running("api", ["-m", "api"], env_of(settings), log) as process:
        process.wait_until("address", place.exists, 60)
        yield json.loads(place.read_text())["url"]
        process.stop()


def write_history(path: Path, now_ms: int, shape: Shape = TRAINING) -> None:
    """Write a history file whose last reading is a day before `now_ms`."""
    values = walks(shape, np.random.default_rng(shape.seed))
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["station_id", "event_time", "seq", *SENSORS])
        for tick in range(shape.ticks):
            event = rfc3339(now_ms - 86_400_000 - (shape.ticks - tick) * 1000)
            for number in range(shape.stations):
                cells = ["" if np.isnan(value) else value for value in values[number, tick]]
                rows.writerow([f"station-{number:04d}", event, tick, *cells])


def clock_ms() -> int:
    """The wall clock: stations send near it, since the broker's clock judges them."""
    return time.time_ns() // 1_000_000


def rows_of(session: Session, settings: Settings, table: str) -> list[Row]:
    """All rows of a table of the stream's keyspace."""
    return scan(session, settings.cassandra_keyspace, table)
