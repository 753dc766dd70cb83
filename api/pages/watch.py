"""What the plant looks like at this moment, kept for all viewers of this process together."""

from __future__ import annotations

from typing import NamedTuple

from api.pages.folding import EpisodeFold
from core.times import HOUR_MS
from storage.driver.session import Store
from storage.tables import stations, stream_progress
from storage.tables.anomaly_feed import Position, arrived
from storage.tables.stations import StationRow

BACK_MS = 2 * HOUR_MS
"""How far back episodes are looked for when a process begins to watch."""

_ROWS = 2000
_ROUNDS = 5


class Look(NamedTuple):
    """One look at the plant. Times in ms since the epoch.

    `catching_up`: more anomalies arrived than one look reads, the next ones go on.
    """

    at_ms: int
    sign_ms: int | None
    stations: list[StationRow]
    episodes: EpisodeFold
    catching_up: bool


class PlantWatch:
    """Follows the feed of anomalies from look to look. Not thread-safe: made for a `SingleFlightCache`.

    Args:
        topic: of the readings.
    """

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._fold = EpisodeFold()
        self._position: Position = {}
        self._since_ms: int | None = None

    def look(self, store: Store, now_ms: int) -> Look:
        """Look at the plant.

        Raises:
            StoreUnavailable: Cassandra is away.
        """
        progress = stream_progress.progress(store, self._topic)
        more = self._follow(store, progress, now_ms)
        rows = stations.stations(store)
        return Look(now_ms, progress.heartbeat_ms, rows, self._fold, more)

    def _follow(self, store: Store, progress: stream_progress.Progress, now_ms: int) -> bool:
        """Take the anomalies that arrived since the last look, which are stored completely; say whether there are more.

        Progress is read before the stations: an episode never seems open because its station's row is older.
        """
        if self._since_ms is None:
            self._since_ms = now_ms - BACK_MS
        ends = {number: held.complete_to for number, held in progress.partitions.items() if held.complete_to}
        for _ in range(_ROUNDS):
            found = arrived(store, self._position, ends, self._since_ms, _ROWS)
            self._fold.add(found.rows)
            self._position = found.position
            if not found.more:
                return False
        return True
