"""The Spark session of the stream: settings that were measured, in one place."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

_STREAMING = "spark.sql.streaming"
_ROCKSDB = f"{_STREAMING}.stateStore.rocksdb"

COMMON: Mapping[str, str] = {
    "spark.app.name": "stationwatch",
    "spark.sql.session.timeZone": "UTC",
    # Removes a stall of about 40 ms per Python task.
    "spark.python.unix.domain.socket.enabled": "true",
    # By bytes, not by rows: a packed row may hold thousands of readings. Buffers of this size are used again; those of
    # a whole task are mapped anew for each batch.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "100000",
    "spark.sql.execution.arrow.maxBytesPerBatch": str(4 * 2**20),
    f"{_STREAMING}.stateStore.providerClass": (
        "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
    ),
    # Commits write what changed, not whole files: 6-38 ms against 155-203 ms.
    f"{_ROCKSDB}.changelogCheckpointing.enabled": "true",
    f"{_ROCKSDB}.boundedMemoryUsage": "true",
    f"{_ROCKSDB}.maxMemoryUsageMB": "128",
    # State is rewritten by each batch; a hundred retained versions fill a disk.
    f"{_STREAMING}.minBatchesToRetain": "10",
    # A progress report per second is kept for nobody.
    f"{_STREAMING}.numRecentProgressUpdates": "20",
    # What logs in to Kafka shows in no plan, page or log.
    "spark.redaction.regex": "(?i)secret|password|token|access[.]?key|jaas",
    "spark.sql.redaction.options.regex": "(?i)url|password|jaas",
    # Figures of the query and the scheduler, under names without an application's id.
    f"{_STREAMING}.metricsEnabled": "true",
    "spark.metrics.namespace": "stationwatch",
    "spark.metrics.conf.*.sink.jmx.class": "org.apache.spark.metrics.sink.JmxSink",
    "spark.metrics.conf.*.sink.prometheusServlet.class": "org.apache.spark.metrics.sink.PrometheusServlet",
    "spark.metrics.conf.*.sink.prometheusServlet.path": "/metrics/prometheus",
    "spark.ui.prometheus.enabled": "true",
    # The page shows; it must not stop the stream, nor keep the jobs of a week.
    "spark.ui.killEnabled": "false",
    "spark.ui.retainedJobs": "50",
    "spark.ui.retainedStages": "50",
    "spark.ui.retainedTasks": "1000",
    "spark.sql.ui.retainedExecutions": "20",
    f"{_STREAMING}.ui.retainedProgressUpdates": "50",
}

LOCAL: Mapping[str, str] = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.showConsoleProgress": "false",
    # Compression takes longer than a local disk.
    "spark.shuffle.compress": "false",
    # Half an hour by default: until then what is no longer needed of old batches fills the heap, page by page.
    "spark.cleaner.periodicGC.interval": "5min",
}

# Compiling well took half of the JVM's processor time while 400,000 readings were drained: 20 of 38 µs a reading.
# Compiled quickly, the same code costs 1-2 µs more. And a packed shard, 3 MB in a batch of 200,000, is an ordinary
# object in regions of 8 MiB (up to half of one); in those of 1 MiB each one had the collector mark the whole heap. What
# comes later on the command line wins. Spark asks for a full collection now and then: it runs beside the stream.
LOCAL_JAVA = "-XX:TieredStopAtLevel=1 -XX:G1HeapRegionSize=8m -XX:+ExplicitGCInvokesConcurrent"

# Of glibc, whose defaults map a large buffer when it is needed and give it back at once: the kernel spent a seventh of
# the JVM's processor time on clearing pages. So up to 128 MiB are kept, of each of two arenas.
MALLOC: Mapping[str, str] = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(128 * 2**20),
}

# Not on a cluster, whose daemons start before the job's own files are there.
LOADED_DAEMON: Mapping[str, str] = {"spark.python.daemon.module": "spark_jobs.driver.worker_daemon"}

# Halves the floor of a batch on a local disk; for ONE local writer only, which the checkpoint lock guarantees.
LOCAL_CHECKPOINT: Mapping[str, str] = {
    f"{_STREAMING}.checkpointFileManagerClass": (
        "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"
    ),
}


def launched_by_submit() -> bool:
    """Whether spark-submit started this process, and so chose master, memory and jars."""
    return "PYSPARK_GATEWAY_PORT" in os.environ


def stream_session(
    *,
    master: str,
    driver_memory: str,
    jars: str,
    shuffle_partitions: int,
    local_checkpoint: bool,
    ui_port: int = 0,
    java_options: str = "",
) -> SparkSession:
    """Open the session; under spark-submit its own master, memory and jars hold.

    Args:
        master: of a session that this process launches itself.
        driver_memory: of such a session, as `768m`.
        jars: paths of the Kafka source's jars, comma-separated; empty where spark-submit brings them.
        shuffle_partitions: tasks per batch.
        local_checkpoint: the checkpoint lies on this machine's disk; spark-submit's executors may be elsewhere.
        ui_port: of the page and the Prometheus servlet of such a session; 0 is none.
        java_options: further options of its driver.
    """
    conf = {**COMMON, "spark.sql.shuffle.partitions": str(shuffle_partitions)}
    conf |= {f"spark.executorEnv.{name}": value for name, value in MALLOC.items()}
    if local_checkpoint and not launched_by_submit():
        conf |= LOCAL_CHECKPOINT
    if jars:
        conf["spark.jars"] = jars
    if not launched_by_submit():
        # Workers must run in the environment of the driver.
        os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        for name, value in MALLOC.items():
            os.environ.setdefault(name, value)
        conf |= {**LOCAL, "spark.master": master, "spark.driver.memory": driver_memory}
        conf |= {"spark.ui.enabled": str(ui_port > 0).lower(), "spark.ui.port": str(ui_port)}
        if master.startswith("local"):
            conf |= LOADED_DAEMON
            java_options = f"{LOCAL_JAVA} {java_options}".strip()
        if java_options:
            conf["spark.driver.extraJavaOptions"] = java_options
    builder = SparkSession.builder
    for name, value in conf.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("WARN")
    return session


def start_workers(session: SparkSession) -> None:
    """Start Spark's Python daemon, which takes seconds, while the driver does something else.

    What goes wrong here goes wrong in the first batch as well, and is told there.
    """
    with suppress(PySparkException, Py4JError, ConnectionError):
        # The plan of the scoring stage: the environment of its workers is the same, so that their daemon is found.
        session.range(1).mapInArrow(lambda batches: batches, "id long").collect()
