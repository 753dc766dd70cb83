"""How many anomalies an interval holds: exact, and quick for hours that were counted before."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

from api.http.bulkhead import Bulkhead
from api.http.interval import Interval
from api.http.store_connection import StoreProvider
from core.settings import Settings
from core.times import DAY_MS, MINUTE_MS
from storage.driver.session import Store
from storage.tables.anomaly_counts import Counted, Group, counted
from storage.tables.recounting import counts_hold_since, kept_before

LONG_COUNTS = 2
"""A month that nobody counted before takes seconds of processor time; two at once leave room for others."""

TRUSTED_MS = 30_000
"""How long ago past hours may have been known to be counted. Otherwise all is counted directly: slow, and right."""


class AnomalyCounter:
    """Counts with what past hours are known to hold, a few long ones at a time.

    Args:
        settings: of this process.
        store: the way to Cassandra.
        now_ms: the clock, ms since the epoch.
    """

    def __init__(self, settings: Settings, store: StoreProvider, now_ms: Callable[[], int]) -> None:
        self._topic, self._store, self._now_ms = settings.readings_topic, store, now_ms
        self._long = Bulkhead(LONG_COUNTS, "counts over more than a day")

    def count(self, interval: Interval, step_ms: int | None, group: Group) -> Counted:
        """Count the anomalies of an interval.

        Raises:
            HTTPError: 503; enough long counts are under way.
        """
        length = interval.end_ms - interval.start_ms
        with self._long.place() if length > DAY_MS + MINUTE_MS * 10 else nullcontext():
            store = self._store.get()
            return counted(store, *interval, step_ms, group, self._kept_before(store))

    def _kept_before(self, store: Store) -> int:
        now = self._now_ms()
        held = counts_hold_since(store, self._topic)
        return kept_before(now) if held is not None and now - held < TRUSTED_MS else 0
