"""The scoring stage: blocks in, verdicts stored. One action per batch, run by the tasks that hold the blocks."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark import Broadcast

from core.sensors import Sensor
from core.verdict import Verdicts
from models.explanation.verdict_document import verdict_documents
from models.scoring.detector import Detector
from models.scoring.feature_block import Blocks
from spark_jobs.tasks.activations import Activations
from spark_jobs.tasks.dead_letters import send_dead_letters
from spark_jobs.tasks.judged import Judged, Sinks, detector_of
from spark_jobs.tasks.packing import STEPS, ShardOutput, unpack
from spark_jobs.tasks.shadow_scoring import Shadow
from spark_jobs.tasks.table_rows import ClosedMinutes, ReadingRows, station_rows, statistics_rows
from spark_jobs.tasks.task_report import report_of
from storage.driver.session import connected
from storage.tables.anomalies import write_anomalies
from storage.tables.feature_samples import write_samples
from storage.tables.minutes import write_minute_columns, write_minutes
from storage.tables.readings import write_reading_columns, write_readings
from storage.tables.stations import write_stations
from storage.tables.statistics import write_statistics

REPORT_SCHEMA = "report binary"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """What the tasks of one batch need. Made anew for each batch, so that a swap reaches them.

    Args:
        sensors: the stream's catalogue.
        detectors: version → broadcast `Detector.to_bytes()`.
        activations: which version judges which offset.
        sinks: where to write.
        shadow: the challenger, when there is one.
    """

    sensors: tuple[Sensor, ...]
    detectors: Mapping[int, Broadcast[bytes]]
    activations: Activations
    sinks: Sinks
    shadow: Shadow | None = None

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Score and write the packed rows of a task; yield one report."""
        began = time.perf_counter()
        output = unpack(batches, tuple(sensor.name for sensor in self.sensors))
        unpacked = time.perf_counter()
        judged = self.judge(output)
        scored = time.perf_counter()
        now_ms = int(time.time() * 1000)
        sinks = self.sinks
        send_dead_letters(
            output.rejected,
            topic=sinks.topic,
            to=sinks.rejected_topic,
            kafka=sinks.kafka,
            deadline_seconds=sinks.deadline_seconds,
        )
        write_output(judged, self.sensors, sinks, now_ms)
        if self.shadow is not None:
            self.shadow.run(judged, sinks)
        written = time.perf_counter()
        seconds = dict(zip(STEPS, output.seconds.tolist(), strict=True))
        seconds |= {"unpack": unpacked - began, "score": scored - unpacked, "write": written - scored}
        yield pa.RecordBatch.from_pydict({"report": [report_of(judged, seconds, now_ms)]})

    def judge(self, output: ShardOutput) -> Judged:
        """Judge each reading by the version that its offset belongs to."""
        versions = self._versions(output)
        parts: list[tuple[np.ndarray, Verdicts]] = []
        documents: dict[int, bytes] = {}
        for version in np.unique(versions).tolist():
            rows = np.flatnonzero(versions == version)
            detector = detector_of(version, self.detectors[version])
            exempting = detector.spec.exemptions is not None
            blocks = output.blocks if len(rows) == len(versions) else output.blocks.take(rows)
            verdicts = detector.judge(blocks, _stations(output, rows) if exempting else None)
            parts.append((rows, verdicts))
            documents |= self._explain(detector, output.blocks, verdicts, rows)
        return Judged(output, _in_place(parts, len(versions)), versions, documents)

    def _versions(self, output: ShardOutput) -> np.ndarray:
        partitions = output.accepted["partition"].to_numpy()
        offsets = output.accepted["offset"].to_numpy()
        versions = np.zeros(len(offsets), np.int64)
        for partition in np.unique(partitions).tolist():
            rows = partitions == partition
            versions[rows] = self.activations.of(partition, offsets[rows])
        return versions

    def _explain(self, detector: Detector, blocks: Blocks, verdicts: Verdicts, rows: np.ndarray) -> dict[int, bytes]:
        flagged = np.flatnonzero(verdicts.is_anomaly)
        chosen = Verdicts(
            *(part[flagged] for part in (verdicts.score, verdicts.severity, verdicts.flags, verdicts.forest))
        )
        texts = verdict_documents(detector, blocks.take(rows[flagged]), chosen, self.sensors)
        return dict(zip(rows[flagged].tolist(), texts, strict=True))


def write_output(judged: Judged, sensors: tuple[Sensor, ...], sinks: Sinks, now_ms: int) -> None:
    """Write everything that follows from a task's readings, the anomaly tables after the readings.

    Every row is an idempotent upsert, so a batch may run twice.

    Args:
        judged: the task's readings with their verdicts.
        sensors: the stream's catalogue.
        sinks: where to write.
        now_ms: scored time, ms since the epoch.

    Raises:
        StoreUnavailable: Cassandra was away longer than `sinks.deadline_seconds`.
    """
    deadline = sinks.deadline_seconds
    store = connected(sinks.store, deadline, _say_waiting)
    names = tuple(sensor.name for sensor in sensors)
    rows = ReadingRows(judged, names, now_ms)
    complete, incomplete = rows.of_stations_kept(sinks.readings_share)
    write_reading_columns(store, rows.as_columns(complete), deadline, _say_waiting)
    write_readings(store, rows.readings(incomplete), deadline, _say_waiting)
    minutes = ClosedMinutes(judged.output.minutes, names)
    write_minute_columns(store, minutes.as_columns(), deadline, _say_waiting)
    write_minutes(store, minutes.incomplete(), deadline, _say_waiting)
    write_stations(store, station_rows(judged.output.stations, names), deadline, _say_waiting)
    write_statistics(store, statistics_rows(judged.output.stations), deadline, _say_waiting)
    write_samples(store, rows.samples(sinks.samples_per_minute), deadline, _say_waiting)
    write_anomalies(store, rows.anomalies(), deadline, _say_waiting)


def _say_waiting(problem: Exception, pause_seconds: float) -> None:
    log.warning("a task waits %.1f s and writes again: %s", pause_seconds, problem)


def _stations(output: ShardOutput, rows: np.ndarray) -> list[str]:
    return list(output.accepted["station_id"].take(pa.array(rows)).to_pylist())


def _in_place(parts: list[tuple[np.ndarray, Verdicts]], n: int) -> Verdicts:
    """Put the verdicts of each version's rows back into the order of all rows."""
    whole = Verdicts(np.zeros(n), np.zeros(n, np.float32), np.zeros(n, np.int32), np.zeros(n))
    for rows, verdicts in parts:
        for name in ("score", "severity", "flags", "forest"):
            getattr(whole, name)[rows] = getattr(verdicts, name)
    return whole
