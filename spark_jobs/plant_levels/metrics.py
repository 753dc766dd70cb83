"""The levels as Prometheus reads them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from spark_jobs.plant_levels.levels import Levels


class LevelMetrics:
    """Gauges in a registry of their own. What is not known is absent, never the last value."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._level = Gauge(
            "iot_plant_level", "Level of the plant, over stations", ["sensor", "rank"], registry=self.registry
        )
        self._missing = Gauge("iot_plant_missing_ratio", "Stations without a value", ["sensor"], registry=self.registry)
        self._implausible = Gauge(
            "iot_plant_implausible_ratio", "Stations outside of the plausible range", ["sensor"], registry=self.registry
        )
        self._stations = Gauge("iot_plant_stations_sampled", "Stations in the newest sample", registry=self.registry)
        self._refused = Gauge("iot_plant_refused_ratio", "Records that are no readings", registry=self.registry)
        self._newest = Gauge(
            "iot_plant_newest_reading_timestamp_seconds", "When Kafka took the newest reading", registry=self.registry
        )
        self._failures = Counter("iot_plant_sample_failures", "Looks that Kafka did not answer", registry=self.registry)

    def show(self, levels: Levels) -> None:
        """Replace what is shown."""
        for gauge in (self._level, self._missing, self._implausible):
            gauge.clear()
        for sensor, ranks in levels.ranks.items():
            for rank, value in ranks.items():
                self._level.labels(sensor, rank).set(value)
        for gauge, shares in ((self._missing, levels.missing), (self._implausible, levels.implausible)):
            for sensor, share in shares.items():
                gauge.labels(sensor).set(share)
        self._stations.set(levels.stations)
        self._refused.set(levels.refused)
        if levels.newest_ms is not None:
            self._newest.set(levels.newest_ms / 1000)

    def failed(self) -> None:
        """Count a look that failed, and show nothing old."""
        self._failures.inc()
        for gauge in (self._level, self._missing, self._implausible):
            gauge.clear()
