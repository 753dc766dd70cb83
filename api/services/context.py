"""What the routes are given: settings, the store, the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from api.http.single_flight_cache import AnswerCache
from api.http.store_connection import StoreProvider
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
        versions: model versions seen so far.
        answers: that are given to all who ask the same at the same time.
    """

    settings: Settings
    store: StoreProvider
    now_ms: Callable[[], int] = wall_clock_ms
    versions: VersionCache = field(default_factory=VersionCache)
    answers: AnswerCache = field(default_factory=lambda: AnswerCache(0.0))
