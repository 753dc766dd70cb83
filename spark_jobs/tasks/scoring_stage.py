"""The scoring stage: blocks in, verdicts stored. One action per batch, run by the tasks that hold the blocks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

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
from spark_jobs.tasks.packing import STEPS, ShardOutput, unpack
from spark_jobs.tasks.shadow_scoring import Shadow
from spark_jobs.tasks.table_rows import write_output
from spark_jobs.tasks.task_report import report_of
from storage.driver.session import StoreConfig

REPORT_SCHEMA = "report binary"


@dataclass(frozen=True)
class Sinks:
    """Where a task writes. Picklable.

    Args:
        store: Cassandra.
        kafka: client settings for kafka-python, with `bootstrap_servers`.
        topic, rejected_topic: of readings and of dead letters.
        readings_share: share of stations whose readings are kept, in [0, 1].
        samples_per_minute: slots of feature samples.
        deadline_seconds: how long a task retries before the batch starts anew.
    """

    store: StoreConfig
    kafka: Mapping[str, Any] = field(repr=False)
    topic: str
    rejected_topic: str
    readings_share: float
    samples_per_minute: int
    deadline_seconds: float


@dataclass(frozen=True)
class Judged:
    """Accepted readings of a task with what was said of them.

    Args:
        output: of the state operator.
        verdicts: along `output.accepted`.
        versions: (n,) int64 model version of each reading.
        documents: row → JSON verdict, of the flagged rows.
    """

    output: ShardOutput
    verdicts: Verdicts
    versions: np.ndarray
    documents: dict[int, bytes]


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
            detector = _detector(version, self.detectors[version])
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


def _stations(output: ShardOutput, rows: np.ndarray) -> list[str]:
    return list(output.accepted["station_id"].take(pa.array(rows)).to_pylist())


_loaded: dict[int, tuple[int, Detector]] = {}


def _detector(version: int, broadcast: Broadcast[bytes]) -> Detector:
    """Return the detector of a version, unpacked once per worker process."""
    data = broadcast.value
    known = _loaded.get(version)
    if known is None or known[0] != hash(data):
        _loaded[version] = (hash(data), Detector.from_bytes(data))
    return _loaded[version][1]


def _in_place(parts: list[tuple[np.ndarray, Verdicts]], n: int) -> Verdicts:
    """Put the verdicts of each version's rows back into the order of all rows."""
    whole = Verdicts(np.zeros(n), np.zeros(n, np.float32), np.zeros(n, np.int32), np.zeros(n))
    for rows, verdicts in parts:
        for name in ("score", "severity", "flags", "forest"):
            getattr(whole, name)[rows] = getattr(verdicts, name)
    return whole
