"""The stream: readings in, verdicts stored. Run it with `python -m` or by spark-submit.

1. Hold the checkpoint and the keyspace against a second driver.
2. Look at the topics, the identity of the stream, the model.
3. Read Kafka → shard → state operator → scoring stage → Cassandra: one query.
4. Wait for what is away, start again on the same checkpoint, stop on SIGTERM.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark.errors import StreamingQueryException
from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from core.errors import (
    ArtefactRefused,
    Retryable,
    SettingsError,
    StateRefused,
    StationwatchError,
    StreamIdentityMismatch,
)
from core.process import DONE, FAILED, Command, run_command, serve_metrics, start, stop_on_signals
from core.settings import Settings
from models.registry.registry import Registry
from models.scoring.station_prior import Prior
from spark_jobs.driver import checkpoint
from spark_jobs.driver.driver_lease import DriverLease
from spark_jobs.driver.foreach_batch import Batches
from spark_jobs.driver.hadoop_folder import HadoopFolder
from spark_jobs.driver.metrics import StreamMetrics
from spark_jobs.driver.model_switch import Judging, watch_champion
from spark_jobs.driver.spark_session import start_workers, stream_session
from spark_jobs.tasks.judged import Sinks
from spark_jobs.tasks.packing import PACKED_SCHEMA
from spark_jobs.tasks.shards import shard_labels
from spark_jobs.tasks.source import check_topics, read_records, with_shards
from spark_jobs.tasks.state_operator import STATE_SCHEMA, state_operator
from storage.driver.session import Store, StoreConfig, connect

log = logging.getLogger("stationwatch.stream")
Result = TypeVar("Result")

FATAL = (StateRefused, StreamIdentityMismatch, ArtefactRefused, checkpoint.CheckpointTorn, checkpoint.AlreadyRunning)
LONGEST_PAUSE_SECONDS = 30.0
# A signal to the whole process group reaches Spark's JVM as well, and may stop it first.
_JVM_GONE = (Py4JError, ConnectionError)


class Stopped(Exception):  # noqa: N818 - the ordinary end, not an error
    """SIGTERM or SIGINT arrived."""


class Stream:
    """One driver: everything it holds, and the order in which it is taken and given back."""

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        self.settings = settings
        self.metrics = StreamMetrics()
        self.stop = stop
        self.lost: str | None = None
        self.kafka = settings.kafka_client_options()

    def run(self) -> None:
        """Run until stopped.

        Raises:
            StationwatchError: something that waiting does not mend.
        """
        path = checkpoint.local_path(self.settings.checkpoint_uri)
        held = checkpoint.lock(path) if path else None
        log.info("metrics: %s", serve_metrics(self.metrics.registry, self.settings, "stream_metrics_port"))
        self.metrics.settings(self.settings.topic_retention_hours * 3600.0, self.settings.trigger_seconds)
        if path:
            self.metrics.watch_disk(path)
        store = self.until("cassandra", lambda: connect(StoreConfig.from_settings(self.settings), deadline_seconds=5.0))
        lease = DriverLease(store, self.settings.readings_topic, self.settings.checkpoint_uri)
        self.until("cassandra", lease.take)
        self._background(lease.keep, self.stop, self._lease_lost)
        try:
            self._stream(store, path)
        finally:
            self.stop.set()
            lease.give_back()
            store.close()
            if held:
                held.close()

    def _stream(self, store: Store, path: Path | None) -> None:
        settings = self.settings
        for warning in self.until("kafka", self._check_topics):
            log.warning(warning)
        # Opened before the model is asked for: at a first start both take half a minute.
        spark = stream_session(
            master=settings.spark_master,
            driver_memory=settings.spark_driver_memory,
            jars=settings.spark_jars,
            shuffle_partitions=settings.shuffle_partitions,
            local_checkpoint=path is not None,
            ui_port=settings.spark_ui_port,
            java_options=settings.spark_java_options,
        )
        # pyspark has put its own handler of SIGINT in the place of ours.
        stop_on_signals(self.stop)
        try:
            self._background(start_workers, spark)
            self._judge(store, spark, path)
        finally:
            with suppress(*_JVM_GONE):
                spark.stop()

    def _judge(self, store: Store, spark: SparkSession, path: Path | None) -> None:
        settings = self.settings
        folder = checkpoint.LocalFolder(path) if path else HadoopFolder(spark, settings.checkpoint_uri)
        shape = checkpoint.Shape(settings.readings_topic, settings.shards, settings.shuffle_partitions)
        checkpoint.check_shape(folder, shape, settings.checkpoint_uri)
        judging = self.until("cassandra", lambda: self._judging(store))
        prior = self.until("cassandra", lambda: self._identify(judging))
        batches = Batches(
            store, folder, judging, settings.sensors, self._sinks(), self.metrics, self.stop, settings.shadow_share
        )
        self._background(watch_champion, judging, settings.champion_poll_seconds, self.stop, self._refused)
        self._keep_running(spark, batches, prior)

    def _keep_running(self, spark: SparkSession, batches: Batches, prior: Prior) -> None:
        """Start the query, and start it again when a dependency made it fail, with growing pauses."""
        pause = 1.0
        while not self.stop.is_set():
            checkpoint.refuse_torn(batches.folder, self.settings.checkpoint_uri)
            batches.judging.restarted()
            batches.error, done = None, batches.done
            query = self._start(spark, batches, prior)
            failure = self._watch(query)
            if failure is None or self.stop.is_set():
                break
            problem = batches.error or failure
            if isinstance(problem, FATAL) or _jvm_is_gone(problem) or "KAFKA_DATA_LOSS" in str(failure):
                raise _explained(problem, failure)
            pause = 1.0 if batches.done > done else min(pause * 2, LONGEST_PAUSE_SECONDS)
            log.error("the query ended and starts again in %.0f s: %s", pause, _first_line(problem))
            self.metrics.restarted()
            self.stop.wait(pause)
        if self.lost:
            raise checkpoint.AlreadyRunning(self.lost)

    def _start(self, spark: SparkSession, batches: Batches, prior: Prior) -> StreamingQuery:
        settings = self.settings
        records = read_records(
            spark,
            kafka=settings.kafka_source_options(),
            topic=settings.readings_topic,
            most_offsets=settings.max_offsets_per_trigger,
        )
        packed = (
            with_shards(records, shard_labels(settings.shards, settings.shuffle_partitions))
            .groupBy("shard")
            .applyInPandasWithState(
                state_operator(settings.sensors, prior), PACKED_SCHEMA, STATE_SCHEMA, "append", "ProcessingTimeTimeout"
            )
        )
        return (
            packed.writeStream.foreachBatch(batches)
            .option("checkpointLocation", settings.checkpoint_uri)
            .trigger(processingTime=f"{settings.trigger_seconds} seconds")
            .queryName("stationwatch")
            .start()
        )

    def _watch(self, query: StreamingQuery) -> Exception | None:
        """Wait until the query ends or must be stopped; return what ended it."""
        while not self.stop.is_set():
            try:
                if query.awaitTermination(1):
                    return None
                self._note_lag(query)
            except (StreamingQueryException, *_JVM_GONE) as failure:
                return failure
        with suppress(*_JVM_GONE):
            query.stop()
        return None

    def _note_lag(self, query: StreamingQuery) -> None:
        progress = query.lastProgress
        for source in progress.sources if progress else []:
            # Before the first offsets are known both are the text "null".
            newest, done = (json.loads(text or "null") or {} for text in (source.latestOffset, source.endOffset))
            ends, begun = (offsets.get(self.settings.readings_topic, {}) for offsets in (newest, done))
            self.metrics.lag(
                {int(partition): int(end) - int(begun.get(partition, 0)) for partition, end in ends.items()}
            )

    def until(self, dependency: str, attempt: Callable[[], Result]) -> Result:
        """Try until it works, saying so, with growing pauses.

        Raises:
            Stopped: SIGTERM arrived meanwhile.
        """
        pause = 1.0
        while not self.stop.is_set():
            try:
                result = attempt()
                self.metrics.waits(dependency, False)
                return result
            except Retryable as error:
                self.metrics.waits(dependency, True)
                log.warning("waiting %.0f s for %s: %s", pause, dependency, error)
                self.stop.wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
        raise Stopped

    def _check_topics(self) -> list[str]:
        return check_topics(self.kafka, self.settings.readings_topic, self.settings.rejected_topic)

    def _judging(self, store: Store) -> Judging:
        settings = self.settings
        name = settings.model_name
        return Judging(
            store,
            lambda: Registry(settings.tracking_uri, name, settings.mlflow_login()),
            topic=settings.readings_topic,
            model_name=name,
        )

    def _identify(self, judging: Judging) -> Prior:
        settings = self.settings
        return judging.identify(settings.sensors, settings.shards, settings.false_alarm_budget, self._wait_for_model)

    def _wait_for_model(self, problem: Exception) -> None:
        log.warning("waiting for a model: %s", problem)
        self.metrics.waits("model", True)
        if self.stop.wait(3.0):
            raise Stopped
        self.metrics.waits("model", False)

    def _sinks(self) -> Sinks:
        settings = self.settings
        return Sinks(
            store=StoreConfig.from_settings(settings),
            kafka=self.kafka,
            topic=settings.readings_topic,
            rejected_topic=settings.rejected_topic,
            readings_share=settings.readings_share,
            samples_per_minute=settings.feature_samples_per_minute,
            deadline_seconds=settings.store_deadline_seconds,
        )

    def _refused(self, version: int, error: Exception) -> None:
        self.metrics.swap_refused()
        log.error("model version %d is refused, the old one stays: %s", version, error)

    def _lease_lost(self, owner: str) -> None:
        self.lost = f"the lease went to the driver {owner}; this one stops before it writes again"
        log.error(self.lost)
        self.stop.set()

    @staticmethod
    def _background(target: Callable[..., None], *args: object) -> None:
        threading.Thread(target=target, args=args, daemon=True).start()


def _explained(problem: Exception, failure: Exception) -> StationwatchError:
    if isinstance(problem, StationwatchError):
        return problem
    if _jvm_is_gone(problem):
        return StationwatchError(f"Spark's JVM is gone ({_first_line(problem)}); its last words are in the log above")
    return StationwatchError(
        "Kafka no longer has offsets that were not read yet (the topic was deleted, or its retention was shorter than "
        f"the stream's absence): {_first_line(failure)}. See docs/architecture.md, 'When Kafka lost readings'"
    )


def _jvm_is_gone(problem: Exception) -> bool:
    """Whether nobody answers any more. An error that the JVM itself reports is a Py4JJavaError, and passes."""
    if isinstance(problem, Py4JJavaError):
        return _text(problem) is None
    return isinstance(problem, _JVM_GONE)


def _text(error: Exception) -> str | None:
    """What an error says; None when it would have to ask a JVM that is gone."""
    try:
        return str(error)
    except _JVM_GONE:
        return None


def _first_line(error: Exception) -> str:
    return next((line for line in (_text(error) or "").splitlines() if line.strip()), type(error).__name__)


def serve(options: argparse.Namespace) -> int:
    """Run the stream until SIGTERM or SIGINT; FAILED for something that waiting does not mend."""
    settings = start(
        quiet={"py4j": logging.WARNING} | dict.fromkeys(("kafka", "cassandra", "mlflow", "alembic"), logging.ERROR)
    )
    stream = Stream(settings, stop_on_signals())
    try:
        stream.run()
    except Stopped:
        return DONE
    except SettingsError:
        raise
    except StationwatchError as error:
        log.error("%s: %s", type(error).__name__, error)
        return FAILED
    return DONE


COMMAND = Command("stream", "judge readings: Kafka to Cassandra", serve, description=__doc__)
main = partial(run_command, COMMAND, "python -m spark_jobs.detect_anomalies", __doc__)


if __name__ == "__main__":
    sys.exit(main())
