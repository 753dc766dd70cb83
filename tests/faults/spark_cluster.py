"""A standalone Spark cluster on loopback, from the installed pyspark: a master, two workers, and what they start."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import py4j
import pyspark

from local_stack.downloads.java import find_java
from local_stack.servers.ports import HOST, free_ports, listens
from tests.oracle.processes import Running, running

SPARK_HOME = Path(pyspark.__file__).parent
WORKERS = 2
_EXECUTOR = "org.apache.spark.executor.CoarseGrainedExecutorBackend"
# Starts a command that is no Python, as a child that `running` finds.
_START = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"


@dataclass(frozen=True)
class Cluster:
    """A running cluster.

    Args:
        master: its address, spark://host:port.
        workers: what started the executors.
    """

    master: str
    workers: list[Running]

    def executors(self) -> list[psutil.Process]:
        """The JVMs that run tasks."""
        return [one for worker in self.workers for one in worker.family() if _is_executor(one)]


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Start a master and two workers of one core each; nothing is left of them at the end."""
    port, *pages = free_ports(2 + WORKERS)
    master = f"spark://{HOST}:{port}"
    env = spark_env(folder)
    with ExitStack() as open_:
        name = "org.apache.spark.deploy.master.Master"
        words = ["--host", HOST, "--port", str(port), "--webui-port", str(pages[0])]
        leader = open_.enter_context(running("master", spark_class(name, *words), env, folder / "master.log"))
        leader.wait_until("the master", lambda: listens(port), 120)
        workers = []
        for number, page in enumerate(pages[1:]):
            name = "org.apache.spark.deploy.worker.Worker"
            place = str(folder / f"worker-{number}")
            words = ["--host", HOST, "--cores", "1", "--memory", "1g", "--webui-port", str(page), "-d", place, master]
            log = folder / f"worker-{number}.log"
            workers.append(open_.enter_context(running(f"worker-{number}", spark_class(name, *words), env, log)))
        for worker in workers:
            worker.wait_until("its master", lambda log=worker.log: "registered with master" in log.read_text(), 120)
        yield Cluster(master, workers)


def spark_class(name: str, *words: str) -> list[str]:
    """The arguments of Python that start a class of Spark."""
    return ["-c", _START, str(SPARK_HOME / "bin" / "spark-class"), name, *words]


def submitted(master: str, package: Path, jars: str, libraries: Path) -> list[str]:
    """The arguments of Python that submit the stream as docs/deploy.md does.

    Args:
        master: of the cluster.
        package: what `make package` made: the program as .zip, and the archive of an environment.
        jars: of the Kafka source.
        libraries: folder with Spark's own Python; a full Spark has it in its own place, the installed pyspark has not.
    """
    conf = {
        "spark.pyspark.python": "./environment/bin/python",
        "spark.pyspark.driver.python": sys.executable,
        "spark.driver.host": HOST,
        "spark.driver.memory": "512m",
        "spark.executor.memory": "512m",
        "spark.executor.cores": "1",
        "spark.cores.max": str(WORKERS),
        "spark.executorEnv.PYTHONPATH": str(libraries),
        "spark.ui.enabled": "false",
    }
    words = [word for name, value in conf.items() for word in ("--conf", f"{name}={value}")]
    words += [
        "--archives",
        f"{package / 'environment.tar.gz'}#environment",
        "--py-files",
        str(package / "stationwatch.zip"),
        "--jars",
        jars,
    ]
    return [
        "-c",
        _START,
        str(SPARK_HOME / "bin" / "spark-submit"),
        "--master",
        master,
        *words,
        "spark_jobs/detect_anomalies.py",
    ]


def spark_env(folder: Path) -> dict[str, str]:
    """Environment variables of all of them: little memory, loopback."""
    return {
        "SPARK_HOME": str(SPARK_HOME),
        "JAVA_HOME": str(Path(find_java()).resolve().parents[1]),
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_LOCAL_IP": HOST,
        "SPARK_LOCAL_DIRS": str(folder / "scratch"),
        "SPARK_LOG_DIR": str(folder),
    }


def sparks_python(folder: Path) -> Path:
    """A folder with pyspark and py4j alone."""
    folder.mkdir()
    for module in (pyspark, py4j):
        home = Path(module.__file__).parent
        os.symlink(home, folder / home.name)
    return folder


def _is_executor(process: psutil.Process) -> bool:
    try:
        return _EXECUTOR in process.cmdline()
    except psutil.Error:
        return False
