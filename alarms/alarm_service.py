"""The alarms of a plant, kept: what arrived is folded and stored, what is over is closed, Alertmanager is told.

Stored in an order that lets a kill at any moment change nothing: rows, then how far the feed is folded, and only then
are alarms closed. So a closed alarm has all its anomalies behind the stored position, and a process that begins again
finds every alarm that could still grow among the open ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from alarms.folding import Fold, Policy
from alarms.group_scope import Scopes
from alarms.metrics import AlarmMetrics
from alarms.notifier import Telling
from alarms.silent import SilentStations
from core.peer_comparison import UNKNOWN
from core.station_silence import is_stale
from core.verdict import severity_class
from storage.driver.session import Store
from storage.tables.alarms import (
    AlarmKey,
    AlarmRow,
    alarms_of_keys,
    folded_to,
    forget,
    note_progress,
    open_keys,
    write_alarms,
)
from storage.tables.anomaly_feed import Position, arrived
from storage.tables.stations import Heard, heard
from storage.tables.stream_progress import Progress, progress

ROWS = 2000
LOOK_MS = 5_000
SCOPE_MS = 60_000
WATCHED_MS = 60_000
"""A stream that has just begun to watch again works off what waited: until then everybody seems silent."""


PLACED_MS = 300_000
"""A minute closes three minutes after it: a short alarm is over before its group can be asked."""

BEHIND_MS = 20_000
"""A batch that takes longer hears nobody meanwhile."""


class Keeper:
    """Holds what one process knows of a keyspace's alarms while it holds the lease.

    Args:
        store: where.
        topic: of the readings.
        policy: when to tell and when to close.
        scopes: the groups.
        telling: what people are told.
        metrics: fed here.
        now_ms: ms since the epoch.
        stale_seconds: a stream that gives no sign for longer hears nobody, s.
        kept_ms: record time further back is not looked for in the feed, ms.
    """

    def __init__(
        self,
        store: Store,
        topic: str,
        policy: Policy,
        scopes: Scopes,
        telling: Telling,
        metrics: AlarmMetrics,
        now_ms: Callable[[], int],
        stale_seconds: float,
        kept_ms: int,
    ) -> None:
        self._store, self._topic, self._policy = store, topic, policy
        self._scopes, self._telling, self._metrics, self._now_ms = scopes, telling, metrics, now_ms
        self._stale_seconds, self._kept_ms = stale_seconds, kept_ms
        held = alarms_of_keys(store, open_keys(store))
        self._fold, self._silent = Fold(policy, held), SilentStations(held)
        self._position: Position = folded_to(store, topic)
        self._heard: dict[str, Heard] = {}
        self._heard_to: Position = {}
        self._heard_ms = now_ms()
        self._named: set[AlarmKey] = set()
        self._looked_ms = 0
        self._scoped_ms: dict[AlarmKey, int] = {}
        self._watched_ms: int | None = None
        telling.begin(held)

    @property
    def open(self) -> list[AlarmRow]:
        """Everything that is not over, or that somebody still has to be told of."""
        return [*self._fold.open.values(), *self._silent.open.values()]

    def turn(self) -> bool:
        """Take what arrived; whether more waits.

        Raises:
            StoreUnavailable: Cassandra is away; the next turn goes on.
        """
        now_ms = self._now_ms()
        began_us = now_ms * 1000
        known = progress(self._store, self._topic)
        complete = {number: held.complete_to for number, held in known.partitions.items() if held.complete_to}
        found = arrived(self._store, self._position, complete, now_ms - self._kept_ms, ROWS)
        changed = self._fold.add(found.rows)
        self._store_rows(changed, began_us)
        if found.position != self._position:
            note_progress(self._store, self._topic, found.position)
            self._position = found.position
        if found.more:
            return True
        if now_ms - self._looked_ms >= LOOK_MS:
            self._looked_ms = now_ms
            self._look(known, now_ms, began_us)
        self._tell(now_ms, began_us)
        self._metrics.looked(now_ms)
        return False

    def _look(self, known: Progress, now_ms: int, began_us: int) -> None:
        """Every few seconds: who is over, who is silent, who is alone."""
        if is_stale(known.heartbeat_ms, now_ms, self._stale_seconds) or now_ms - self._heard_ms > BEHIND_MS:
            self._watched_ms = None
        if all(self._position.get(number, 0) >= to for number, to in self._heard_to.items()):
            self._store_rows(self._fold.close(self._heard), began_us)
            self._heard = {row.station_id: row for row in heard(self._store)}
            # Rows of stations are written while a batch runs: they may count what is folded only when it is complete.
            begun = progress(self._store, self._topic)
            self._heard_to = {number: held.started_to or 0 for number, held in begun.partitions.items()}
            self._heard_ms = now_ms
            if not is_stale(begun.heartbeat_ms, now_ms, self._stale_seconds):
                self._look_for_silence(now_ms, began_us)
        self._look_at_groups(now_ms, began_us)

    def _look_for_silence(self, now_ms: int, began_us: int) -> None:
        if self._watched_ms is None:
            self._watched_ms = now_ms
        if now_ms - self._watched_ms >= WATCHED_MS:
            self._store_rows(self._silent.look(self._heard, now_ms), began_us)
            self._metrics.silent(sum(row.closed_ms is None for row in self._silent.open.values()))

    def _look_at_groups(self, now_ms: int, began_us: int) -> None:
        stations = list(self._heard)
        changed = []
        for row in self._fold.open.values():
            if row.notified_ms is None or now_ms - self._scoped_ms.get(row.key, 0) < SCOPE_MS:
                continue
            self._scoped_ms[row.key] = now_ms
            scope = self._scopes.scope_of(self._store, row, stations)
            if scope != row.scope:
                changed.append(row._replace(scope=scope))
        for row in changed:
            self._fold.replace(row)
        self._store_rows((row.key for row in changed), began_us)

    def _tell(self, now_ms: int, began_us: int) -> None:
        """Say what is on, note what Alertmanager says, and let go what is over and told."""
        self._hold(self._telling.noted(self.open), began_us)
        states = self._telling.tell(self.open, now_ms)
        open_rows = [row for row in self.open if row.notified_ms is not None and states[row.key] != "cleared"]
        self._metrics.opened(severity_class(row.severity) for row in open_rows)
        over = [row.key for row in self.open if self._is_done(row, now_ms)]
        forget(self._store, over, began_us)
        for key in over:
            if key in self._silent.open:
                del self._silent.open[key]
            else:
                self._fold.drop(key)
            self._scoped_ms.pop(key, None)
            self._named.discard(key)

    def _is_done(self, row: AlarmRow, now_ms: int) -> bool:
        """Whether an alarm is over, told, and its place among its group known as far as it will be."""
        if row.closed_ms is None or not self._telling.settled(row, now_ms):
            return False
        waits = bool(row.group and row.sensor) and row.notified_ms is not None and row.scope == UNKNOWN
        return not waits or now_ms - row.closed_ms > PLACED_MS

    def _hold(self, rows: Iterable[AlarmRow], began_us: int) -> None:
        """Hold and store rows in which something other than anomalies has changed."""
        rows = list(rows)
        for row in rows:
            if row.key in self._silent.open:
                self._silent.open[row.key] = row
            else:
                self._fold.replace(row)
        self._store_rows((row.key for row in rows), began_us)

    def _store_rows(self, keys: Iterable[AlarmKey], began_us: int) -> None:
        """Store alarms that changed, each with its group."""
        rows = []
        for key in keys:
            held = self._silent.open if key in self._silent.open else self._fold.open
            row = held[key]
            if not row.group:
                row = held[key] = row._replace(group=self._scopes.group_of(row.station_id))
            rows.append(row)
        write_alarms(self._store, rows, began_us, self._named)
        self._named.update(row.key for row in rows)
        for row in rows:
            self._telling.count(row)
