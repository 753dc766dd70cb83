"""The process' own metrics: one prefix, base units, never a station as a label."""

from __future__ import annotations

from collections import Counter as Counted
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge

CLASSES = ("critical", "major", "minor", "warning", "low")


class AlarmMetrics:
    """Numbers in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._open = Gauge(
            "iot_alarms_open",
            "Alarms that are worth telling and not over or cleared",
            ["severity_class"],
            registry=self.registry,
        )
        self._notified = Counter(
            "iot_alarms_notified", "Alarms that became worth telling", ["severity_class"], registry=self.registry
        )
        self._failures = Counter(
            "iot_alertmanager_failures", "Attempts to reach Alertmanager that failed", registry=self.registry
        )
        self._silent = Gauge("iot_stations_silent", "Stations that nobody hears", registry=self.registry)
        self._looked = Gauge(
            "iot_alarms_last_look_timestamp_seconds",
            "When the feed was last read to its end",
            registry=self.registry,
        )
        for name in CLASSES:
            self._open.labels(name)
            self._notified.labels(name)

    def opened(self, classes: Iterable[str]) -> None:
        """The severity classes of all alarms that are open."""
        found = Counted(classes)
        for name in CLASSES:
            self._open.labels(name).set(found[name])

    def notified(self, severity_class: str) -> None:
        """An alarm became worth telling."""
        self._notified.labels(severity_class).inc()

    def failed(self) -> None:
        """Alertmanager was not reached."""
        self._failures.inc()

    def silent(self, count: int) -> None:
        """So many stations are silent."""
        self._silent.set(count)

    def looked(self, now_ms: int) -> None:
        """The feed is read to its end."""
        self._looked.set(now_ms / 1000)
