"""The servers, the model and the stream's process that a benchmark of the stream needs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil

from core.settings import PREFIX, Settings
from local_stack.downloads.jars import spark_kafka_jars
from local_stack.servers.stack import Stack, endpoints_settings
from storage.driver.session import Store, StoreConfig, connect, statement
from storage.tables.stream_progress import progress

ROOT = Path(__file__).resolve().parents[2]
TRAINING = ("--stations", "25", "--days", "1", "--stretches", "3", "--stretch-rows", "2400", "--fault-rate", "0")
DRAIN_SECONDS = 900.0
STOP_SECONDS = 60.0
_SAMPLE = re.compile(r"^(iot_\w+?)(?:\{([^}]*)\})? ([0-9.e+-]+)$", re.MULTILINE)


@contextmanager
def plant(home: Path) -> Iterator[tuple[Settings, Stack]]:
    """Kafka and Cassandra on free ports, and a champion trained on simulated stations; all below `home`."""
    settings = Settings(_env_file=None, home=home, kafka_port=0, cassandra_port=0, stream_metrics_port=0, api_port=0)
    stack = Stack(settings, say=_say)
    try:
        settings = endpoints_settings(settings, stack.up())
        jars = ",".join(map(str, spark_kafka_jars(settings.cache)))
        settings = settings.model_copy(update={"spark_jars": jars})
        history = home / "history.parquet"
        if not history.exists():
            command(settings, "iot_simulator", "history", "--out", str(history), *TRAINING)
        command(settings, "models.train", "--readings", str(history), "--if-no-champion")
        yield settings, stack
    finally:
        stack.down()


def command(settings: Settings, module: str, *arguments: str) -> None:
    """Run one of the project's commands to its end.

    Raises:
        SystemExit: it failed.
    """
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", module, *arguments], env=environment(settings), cwd=settings.home, check=False
    )
    if done.returncode:
        raise SystemExit(f"python -m {module} {' '.join(arguments)} ended with status {done.returncode}")


def environment(settings: Settings) -> dict[str, str]:
    """Every setting as an environment variable, so that nothing around a benchmark shines through."""
    plain = {name: getattr(settings, name) for name in type(settings).model_fields}
    plain["sensors"] = json.dumps([asdict(sensor) for sensor in settings.sensors])
    named = {f"{PREFIX}{name.upper()}": "" if value is None else str(value) for name, value in plain.items()}
    own = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return {**own, **named, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


class Running:
    """A stream, or another program, that can be watched while it works.

    Args:
        settings: what it is given.
        name: of its log below `settings.home`.
        arguments: of python.
    """

    def __init__(self, settings: Settings, name: str, *arguments: str) -> None:
        self.settings = settings
        self.log = settings.home / f"{name}.log"
        self.began = time.time()
        with self.log.open("w") as output:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, *arguments],
                env=environment(settings),
                cwd=settings.home,
                stdout=output,
                stderr=output,
            )

    def check(self) -> None:
        """Raise SystemExit when it has ended badly."""
        if self._process.poll():
            raise SystemExit(f"{self.log.name}: ended with {self._process.returncode}\n{self.text()[-3000:]}")

    def ended(self) -> bool:
        """Whether it has ended well."""
        self.check()
        return self._process.poll() == 0

    def text(self) -> str:
        """Its log so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def usage(self) -> tuple[float, float]:
        """CPU seconds so far and resident MiB of the process and all it started."""
        return usage_of(self._process.pid)

    def shares(self) -> dict[str, float]:
        """CPU seconds so far of Java and of Python among the process and all it started."""
        return self._by_kind(_seconds)

    def memory(self) -> dict[str, float]:
        """Resident MiB of Java and of Python; pages that forked workers share count for each of them."""
        return self._by_kind(lambda process: process.memory_info().rss / 2**20)

    def _by_kind(self, measure: Callable[[psutil.Process], float]) -> dict[str, float]:
        sums = {"java": 0.0, "python": 0.0}
        for process in family_of(self._process.pid):
            with suppress(psutil.NoSuchProcess):
                sums["java" if process.name() == "java" else "python"] += measure(process)
        return sums

    def metrics(self) -> dict[str, float]:
        """Its Prometheus samples, `name{labels}` → value; empty before it serves any."""
        address = re.search(r"metrics: (\S+)", self.text())
        if address is None:
            return {}
        with urlopen(address[1], timeout=10) as answer:  # noqa: S310
            found = _SAMPLE.findall(answer.read().decode())
        return {f"{name}{{{labels}}}" if labels else name: float(value) for name, labels, value in found}

    def stop(self) -> None:
        """End it; by SIGKILL when it does not."""
        family = family_of(self._process.pid)
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()


@contextmanager
def running(settings: Settings, name: str, *arguments: str) -> Iterator[Running]:
    """A program that is gone at the end of the block."""
    process = Running(settings, name, *arguments)
    try:
        yield process
    finally:
        process.stop()


def stream(settings: Settings, name: str) -> Any:
    """The stream of a fresh keyspace and checkpoint `name`, with the settings given; a context manager."""
    command(settings, "storage", "schema")
    return running(settings, name, "-m", "spark_jobs.detect_anomalies")


def named(settings: Settings, name: str, **changes: object) -> Settings:
    """The settings of one run: a keyspace and a checkpoint of its own."""
    own = {"cassandra_keyspace": f"bench_{name}", "checkpoint": str(settings.home / f"checkpoint-{name}")}
    return settings.model_copy(update={**own, **changes})


def family_of(pid: int) -> list[psutil.Process]:
    """A process and all that it started."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def usage_of(pid: int) -> tuple[float, float]:
    """CPU seconds so far (ended children included) and resident MiB of a process and all it started."""
    seconds = resident = 0.0
    for process in family_of(pid):
        with suppress(psutil.NoSuchProcess):
            seconds += _seconds(process)
            resident += process.memory_info().rss / 2**20
    return seconds, resident


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def stored(store: Store, topic: str) -> dict[int, int]:
    """Kafka partition → complete_to."""
    return {number: row.complete_to or 0 for number, row in progress(store, topic).partitions.items()}


def count_rows(settings: Settings, table: str, columns: str) -> int:
    """Rows of a table, every one read: the servers are a benchmark's own."""
    with closing(store_of(settings)) as store:
        return sum(1 for _ in store.rows(statement(f"SELECT {columns} FROM {table}"), page_rows=5000))  # noqa: S608


def store_of(settings: Settings) -> Store:
    """A store of the settings' keyspace."""
    return connect(StoreConfig.from_settings(settings))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
