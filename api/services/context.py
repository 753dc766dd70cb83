"""What the routes are given: settings, the store, the clock, and what they share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from api.http.single_flight_cache import AnswerCache
from api.http.store_connection import StoreProvider
from api.services.anomaly_counter import AnomalyCounter
from api.services.live_feed import LiveFeed
from api.services.scoring_service import ScoringService
from api.services.versions import VersionCache
from core.settings import Settings


def wall_clock_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Context:
    """Passed to every module of routes.

    Args:
        settings: of this process.
        store: the way to Cassandra.
        now_ms: the clock, ms since the epoch.
    """

    settings: Settings
    store: StoreProvider
    now_ms: Callable[[], int] = wall_clock_ms

    @cached_property
    def answers(self) -> AnswerCache:
        """Answers that are given to all who ask the same at the same time."""
        return AnswerCache(self.settings.api_shared_seconds)

    @cached_property
    def counter(self) -> AnomalyCounter:
        """Counts anomalies."""
        return AnomalyCounter(self.settings, self.store, self.now_ms)

    @cached_property
    def live_feed(self) -> LiveFeed:
        """The one reader of the feed behind all live listeners."""
        return LiveFeed(self.settings, self.store, self.now_ms)

    @cached_property
    def scoring(self) -> ScoringService:
        """Judges readings."""
        return ScoringService(self.settings)

    @cached_property
    def versions(self) -> VersionCache:
        """Model versions seen so far."""
        return VersionCache()
