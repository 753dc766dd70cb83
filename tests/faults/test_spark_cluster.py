"""A real Spark cluster: submitted with wheel and environment, an executor killed, the model swapped, counts exact."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psutil
import pytest
from cassandra.cluster import Session

from core.settings import Settings
from tests.faults.proving import finish, hold
from tests.faults.spark_cluster import WORKERS, Cluster, cluster, spark_env, sparks_python, submitted
from tests.faults.test_end_to_end import swap
from tests.oracle.job import STOP_SECONDS, Job, clock_ms, env_of, make_schema, train
from tests.oracle.ledger import Ledger, Publisher, chunks
from tests.oracle.processes import ROOT, start
from tests.oracle.stream_input import Shape, plan

SHAPE = Shape(stations=20, ticks=300)
EXECUTORS_SECONDS = 300  # each unpacks an environment first

pytestmark = [pytest.mark.timeout(2400), pytest.mark.slow]


class SubmittedJob(Job):
    """The stream, started by spark-submit on a cluster."""

    def __init__(self, settings: Settings, session: Session, on: Cluster, folder: Path) -> None:
        """Nothing is started yet."""
        super().__init__(settings, session, "submitted")
        self._on, self._folder = on, folder
        self._libraries = sparks_python(folder / "spark-python")

    def start(self) -> None:
        """Submit it."""
        words = submitted(self._on.master, ROOT / "dist", self.settings.spark_jars, self._libraries)
        # Under spark-submit jars come by its option.
        env = env_of(self.settings.model_copy(update={"spark_jars": ""})) | spark_env(self._folder)
        self._process = start(self.name, words, env, self.settings.home / f"{self.name}.log")

    def stop(self) -> None:
        """SIGTERM to the driver's Python, which ends its batch; the JVM that started it follows."""
        (driver,) = [one for one in self.process.family() if _is_driver(one)]
        driver.terminate()
        self.process.popen.wait(timeout=STOP_SECONDS)
        assert self.process.popen.returncode == 0, self.process.tail()


def _is_driver(process: psutil.Process) -> bool:
    try:
        return process.name().startswith("python") and process.cmdline()[-1].endswith("detect_anomalies.py")
    except psutil.NoSuchProcess:
        return False


def test_a_cluster_loses_an_executor_and_nothing_else(
    proof_settings: Settings, session: Session, history: Path, tmp_path: Path
) -> None:
    """Breaks when the package is not enough, state is lost with an executor, or a swap needs one machine."""
    make_package()
    settings = proof_settings.model_copy(update={"checkpoint": (proof_settings.home / "shared").as_uri()})
    make_schema(settings)
    train(settings, history, seed=1)
    (folder := tmp_path / "cluster").mkdir()
    with cluster(folder) as running:
        job = SubmittedJob(settings, session, running, folder)
        try:
            ledger = publish_with_harm(job, running, history, tmp_path / "ledger.jsonl")
            finish(job, session)
        finally:
            job.make_away()
    # The checks read the checkpoint as a folder.
    evidence = hold(session, settings.model_copy(update={"checkpoint": str(proof_settings.home / "shared")}), ledger)
    assert {row["model_version"] for row in evidence.tables["readings"]} == {1, 2}


def publish_with_harm(job: Job, on: Cluster, history: Path, ledger: Path) -> Ledger:
    """Publish in parts; kill an executor in a batch, then swap the model."""
    settings = job.settings
    parts = list(chunks(plan(SHAPE, clock_ms()), 4))
    with Publisher(settings.kafka_client_options(), settings.readings_topic, ledger) as publisher:
        publisher.publish(parts[0])
        job.start()
        job.process.wait_until("both executors", lambda: len(on.executors()) == WORKERS, EXECUTORS_SECONDS)
        job.process.wait_until("some batches", lambda: job.stored() > 0, EXECUTORS_SECONDS)
        publisher.publish(parts[1])
        job.process.wait_until("batch to harm", job.in_a_batch, EXECUTORS_SECONDS)
        victim = on.executors()[0]
        victim.kill()
        psutil.wait_procs([victim], timeout=30)
        publisher.publish(parts[2])
        job.wait_until_drained()
        train(settings, history, seed=2)
        swap(job, publisher, parts[3])
        job.wait_until_drained()
        return publisher.ledger


def make_package() -> None:
    """`make package`, unless the archive is as new as the lock; the wheel always."""
    archive, lock = ROOT / "dist" / "environment.tar.gz", ROOT / "requirements.lock"
    target = ["package"] if not archive.exists() or archive.stat().st_mtime < lock.stat().st_mtime else ["wheel"]
    subprocess.run(["make", *target], cwd=ROOT, check=True, timeout=900, capture_output=True)  # noqa: S607
