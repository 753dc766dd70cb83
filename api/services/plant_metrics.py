"""Stations for Prometheus, by condition."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from api.http.single_flight_cache import SingleFlightCache
from api.http.store_connection import STORE_AWAY
from api.services.context import Context
from core.station_silence import is_silent, is_stale
from storage.driver.session import Store
from storage.tables import stations, stream_progress

FRESH_SECONDS = 10.0
"""`stations` is written at most every 10 s."""


class StationsCollector:
    """Counts stations when it is asked. A blind stream hears nobody: all are unknown then.

    Args:
        context: of the application.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._counts: SingleFlightCache[dict[str, int]] = SingleFlightCache(FRESH_SECONDS)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics at this moment."""
        try:
            store = self._context.store.get()
            counts = self._counts.get("counts", lambda: self._count(store, self._context.now_ms()))
        except STORE_AWAY as error:
            self._context.store.mark_suspect(error)
            return
        family = GaugeMetricFamily("iot_stations", "Stations that were ever heard, by condition", labels=["condition"])
        for condition, count in counts.items():
            family.add_metric([condition], count)
        yield family

    def describe(self) -> list[Metric]:
        """Name nothing ahead: the store is asked when a scrape comes, not while the application is built."""
        return []

    def _count(self, store: Store, now_ms: int) -> dict[str, int]:
        settings = self._context.settings
        sign_ms = stream_progress.progress(store, settings.readings_topic).heartbeat_ms
        rows = stations.stations(store)
        if is_stale(sign_ms, now_ms, settings.api_stale_seconds):
            return {"reporting": 0, "silent": 0, "unknown": len(rows)}
        silent = sum(is_silent(row.last_record_ms, row.typical_interval_seconds, now_ms) for row in rows)
        return {"reporting": len(rows) - silent, "silent": silent, "unknown": 0}
