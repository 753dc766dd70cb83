"""One batch after the other: fix who judges, run the one action, note the progress."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field

from pyspark.sql import DataFrame

from core.errors import Retryable, StationwatchError, StoreUnavailable
from core.sensors import Sensor
from spark_jobs.driver.checkpoint import Folder
from spark_jobs.driver.metrics import StreamMetrics
from spark_jobs.driver.model_switch import Judging
from spark_jobs.driver.offsets import batch_ends
from spark_jobs.tasks.judged import Sinks
from spark_jobs.tasks.scoring_stage import REPORT_SCHEMA, Stage
from spark_jobs.tasks.task_report import Report, whole
from storage.driver.session import Store
from storage.tables import stream_progress

HEARTBEAT_SECONDS = 2.0
log = logging.getLogger(__name__)


class BatchFailed(StationwatchError):
    """A batch could not be stored; it runs again."""


@dataclass
class Batches:
    """What `foreachBatch` calls. It may run a batch twice; every row it writes is an idempotent upsert.

    Args:
        store: Cassandra, of the driver.
        folder: the checkpoint, for the batch's offsets.
        judging: who judges.
        sensors: the stream's catalogue.
        sinks: where the tasks write.
        metrics: fed per batch.
        stopping: set when the job is to end, which interrupts the batch that runs.
        shadow_share: share of readings that a challenger judges too.
    """

    store: Store
    folder: Folder
    judging: Judging
    sensors: tuple[Sensor, ...]
    sinks: Sinks
    metrics: StreamMetrics
    stopping: threading.Event
    shadow_share: float = 0.0
    error: Exception | None = None
    done: int = 0
    _sign: float = field(default=0.0, repr=False)

    def __call__(self, packed: DataFrame, batch_id: int) -> None:
        """Score and store one batch.

        Raises:
            BatchFailed: in few words, because Spark searches the text with an expression that overflows its stack on a
                long one. The error itself is kept and logged here.
        """
        try:
            self._run(packed, batch_id)
        except Exception as error:
            self.error = error
            if not self.stopping.is_set():
                self.metrics.batch_failed(type(error).__name__)
                log.warning("batch %d failed: %s", batch_id, error, exc_info=not isinstance(error, Retryable))
            raise BatchFailed(f"batch {batch_id}: {type(error).__name__}") from None

    def _run(self, packed: DataFrame, batch_id: int) -> None:
        began = time.perf_counter()
        ends = batch_ends(self.folder, batch_id, self.sinks.topic)
        activations, detectors = self.judging.prepare(packed.sparkSession.sparkContext, ends)
        shadow = self.judging.challenger.shadow(packed.sparkSession.sparkContext, self.shadow_share)
        stage = Stage(self.sensors, detectors, activations, self.sinks, shadow)
        reports = packed.mapInArrow(stage, REPORT_SCHEMA).collect()
        version = self.judging.completed(ends)
        seconds = time.perf_counter() - began
        report = whole([bytes(row["report"]) for row in reports])
        self.metrics.batch(report, seconds, version)
        self.done += 1
        self._heartbeat()
        _say(batch_id, report, seconds, version)

    def _heartbeat(self) -> None:
        """Give a sign of life at most every few seconds: batches run also when nothing arrives."""
        now = time.time()
        if now - self._sign < HEARTBEAT_SECONDS:
            return
        try:
            stream_progress.heartbeat(self.store, self.sinks.topic, int(now * 1000))
            self._sign = now
        except StoreUnavailable as error:
            log.warning("no sign of life could be written: %s", error)


def _say(batch_id: int, report: Report, seconds: float, version: int) -> None:
    records = report.records
    if not records.get("consumed"):
        return
    rejected = sum(report.rejected.values())
    steps = " ".join(f"{name} {spent * 1000:.0f}" for name, spent in report.seconds.items())
    log.info(
        "batch %d: %d records, %d readings, %d dead letters, %d flags, version %d, %.2f s (ms: %s)",
        batch_id,
        records["consumed"],
        records["accepted"],
        rejected,
        sum(report.anomalies.values()),
        version,
        seconds,
        steps,
    )
