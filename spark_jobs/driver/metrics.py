"""The stream's own metrics, with names that stay: one prefix, base units, never a station as a label."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import HistogramMetricFamily

from core.release import release
from spark_jobs.tasks.activations import Offsets
from spark_jobs.tasks.task_report import LATENCY_EDGES, Report


class StreamMetrics:
    """Counters that batches feed, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._consumed = Counter("iot_readings_consumed", "Kafka records taken by the stream", registry=self.registry)
        self._rejected = Counter(
            "iot_readings_rejected", "Records that were no readings", ["reason"], registry=self.registry
        )
        self._duplicate = Counter(
            "iot_readings_duplicate", "Readings taken before, with equal content", registry=self.registry
        )
        self._late = Counter("iot_readings_late", "Readings not after their station's clock", registry=self.registry)
        self._minute_closed = Counter(
            "iot_readings_minute_closed", "Readings too late for their minute", registry=self.registry
        )
        self._scored = Counter("iot_readings_scored", "Readings judged", ["model_version"], registry=self.registry)
        self._anomalies = Counter(
            "iot_anomalies", "Anomalies stored", ["severity_class", "witness"], registry=self.registry
        )
        self._batch = Histogram(
            "iot_batch_duration_seconds",
            "Time of a batch",
            buckets=(0.25, 0.5, 1, 2, 5, 10, 30, 60, 300),
            registry=self.registry,
        )
        self._stage = Counter(
            "iot_stage_seconds",
            "Time of tasks by stage of the readings' way",
            ["stage"],
            registry=self.registry,
        )
        self._lag = Gauge(
            "iot_kafka_lag_records", "Records in Kafka that are not stored yet", ["partition"], registry=self.registry
        )
        self._last = Gauge("iot_last_batch_timestamp_seconds", "When the last batch was stored", registry=self.registry)
        self._model = Gauge("iot_model_info", "1 for the version that judges", ["version"], registry=self.registry)
        self._swap_failures = Counter("iot_model_swap_failures", "Champions that were refused", registry=self.registry)
        self._waiting = Gauge(
            "iot_stream_waiting", "1 while the stream waits for a dependency", ["dependency"], registry=self.registry
        )
        self._restarts = Counter("iot_stream_restarts", "Starts of the query after a failure", registry=self.registry)
        self._batch_failures = Counter(
            "iot_batch_failures", "Batches that could not be stored and ran again", ["error"], registry=self.registry
        )
        self._retention = Gauge("iot_kafka_retention_seconds", "How long Kafka keeps readings", registry=self.registry)
        self._trigger = Gauge("iot_trigger_seconds", "Pause between the starts of two batches", registry=self.registry)
        self._latency = _LatencyCollector()
        self.registry.register(self._latency)
        Gauge("iot_build_info", "1 for the release that runs", ["version"], registry=self.registry).labels(
            release()
        ).set(1)

    def watch_disk(self, folder: Path) -> None:
        """Tell how full the disk of the checkpoint is, each time it is asked."""
        Gauge(
            "iot_checkpoint_disk_free_ratio", "Free share of the checkpoint's disk", registry=self.registry
        ).set_function(lambda: _free_share(folder))

    def settings(self, retention_seconds: float, trigger_seconds: float) -> None:
        """Say by which settings the others are judged."""
        self._retention.set(retention_seconds)
        self._trigger.set(trigger_seconds)

    def batch_failed(self, error: str) -> None:
        """Count a batch that could not be stored, by the name of its error."""
        self._batch_failures.labels(error).inc()

    def batch(self, report: Report, seconds: float, model_version: int) -> None:
        """Count a stored batch."""
        self._consumed.inc(report.records.get("consumed", 0))
        self._duplicate.inc(report.records.get("duplicate", 0))
        self._late.inc(report.records.get("late", 0))
        self._minute_closed.inc(report.records.get("minute_closed", 0))
        for reason, count in report.rejected.items():
            self._rejected.labels(reason).inc(count)
        for stage, spent in report.seconds.items():
            self._stage.labels(stage).inc(spent)
        for judged_by, count in report.scored.items():
            self._scored.labels(str(judged_by)).inc(count)
        for fired, count in report.anomalies.items():
            self._anomalies.labels(*fired.split("|", 1)).inc(count)
        self._batch.observe(seconds)
        self._last.set(time.time())
        self._model.clear()
        self._model.labels(str(model_version)).set(1)
        self._latency.add(report)

    def lag(self, behind: Offsets) -> None:
        """Set the lag of each partition, records."""
        for partition, records in behind.items():
            self._lag.labels(str(partition)).set(records)

    def waits(self, dependency: str, waiting: bool) -> None:
        """Say whether the stream waits for a dependency."""
        self._waiting.labels(dependency).set(1 if waiting else 0)

    def swap_refused(self) -> None:
        """Count a champion that was refused."""
        self._swap_failures.inc()

    def restarted(self) -> None:
        """Count a start of the query after a failure."""
        self._restarts.inc()


class _LatencyCollector:
    """iot_event_to_stored_seconds, fed with whole bins instead of one call per reading."""

    def __init__(self) -> None:
        self._bins = [0] * (len(LATENCY_EDGES) + 1)
        self._sum = 0.0

    def add(self, report: Report) -> None:
        """Add a batch's bins."""
        self._bins = [a + b for a, b in zip(self._bins, report.latency, strict=True)]
        self._sum += report.latency_sum

    def collect(self) -> list[HistogramMetricFamily]:
        """Return the histogram as Prometheus wants it: cumulative."""
        edges = [*(str(edge) for edge in LATENCY_EDGES), "+Inf"]
        running = [sum(self._bins[: place + 1]) for place in range(len(edges))]
        family = HistogramMetricFamily("iot_event_to_stored_seconds", "From event time to the stored row")
        family.add_metric([], buckets=list(zip(edges, running, strict=True)), sum_value=self._sum)
        return [family]


def _free_share(folder: Path) -> float:
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return float("nan")
    return usage.free / usage.total
