"""The retrainer's metrics: of its jobs, and of drift."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from models.drift.report import DriftReport


class RetrainerMetrics:
    """Numbers in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._jobs = Counter(
            "iot_jobs", "Jobs that ended. State failed rising: read the retrainer's log.", ["kind", "state"],
            registry=self.registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "iot_job_duration_seconds", "Time of a job", ["kind"], buckets=(1, 5, 15, 30, 60, 120, 300, 900),
            registry=self.registry,
        )  # fmt: skip

    def ended(self, kind: str, state: str, seconds: float) -> None:
        """Count a job."""
        self._jobs.labels(kind, state).inc()
        self._seconds.labels(kind).observe(seconds)


class DriftMetrics:
    """How far the readings are from the champion's training.

    Args:
        registry: where they are registered.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.score = Gauge(
            "iot_drift_score",
            "Effect size of drift in the newest window: Wasserstein distance in standard deviations of the training, "
            "for correlations their change. Rises when the plant moves away from what the model learnt.",
            ["feature"],
            registry=registry,
        )
        self.persistent = Gauge(
            "iot_drift_persistent",
            "Features that drift in enough windows in a row. Above 0: read /api/v1/drift, then retrain.",
            registry=registry,
        )
        self.checked = Gauge(
            "iot_drift_check_timestamp_seconds", "When drift was last checked, Unix time.", registry=registry
        )

    def show(self, report: DriftReport) -> None:
        """Show a report. Features that it says nothing of are taken away: an old figure would pass for today's."""
        self.score.clear()
        for feature, effect in report.summary().effects.items():
            self.score.labels(feature).set(effect)
        self.persistent.set(len(report.persistent))
        self.checked.set(report.checked_ms / 1000)
