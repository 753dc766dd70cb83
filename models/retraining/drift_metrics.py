"""The retrainer's metrics of drift, for Prometheus."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Gauge

from models.drift.report import DriftReport


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
