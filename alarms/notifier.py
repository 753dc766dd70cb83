"""Who is told what: from stored alarms, and what people did to them, to what Alertmanager shall know."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from alarms.alertmanager import Poster
from alarms.alerts import Alert, Labels, alerts_of, labels_of
from alarms.metrics import AlarmMetrics
from core.alarm import Done, State, state_of
from core.verdict import severity_class
from storage.driver.session import Store
from storage.tables.alarm_actions import actions_of
from storage.tables.alarms import AlarmKey, AlarmRow

FIRES_MS = 60_000
"""However short an alarm was, it stays on for this long once Alertmanager knows it: that groups for 30 s before it
notifies, and what ended before is told to nobody."""

LATE_MS = 3_600_000
"""An alarm that was over before Alertmanager could be told is told if it ended within the last hour."""

ACTIONS_MS = 3_000


class Telling:
    """Decides what is on.

    Args:
        store: where people's actions are.
        poster: to Alertmanager, None when there is none.
        metrics: fed here.
        link: the address of an alarm's page.
    """

    def __init__(
        self, store: Store, poster: Poster | None, metrics: AlarmMetrics, link: Callable[[AlarmRow], str]
    ) -> None:
        self._store, self._poster, self._metrics, self._link = store, poster, metrics, link
        self._done: dict[AlarmKey, list[Done]] = {}
        self._asked_ms = 0
        self._counted: set[AlarmKey] = set()

    def begin(self, held: Iterable[AlarmRow]) -> None:
        """Take over from a process before this one: what it may have told and what is over ends at Alertmanager."""
        rows = list(held)
        self._counted = {row.key for row in rows if row.notified_ms is not None}
        if self._poster is not None:
            over = [row for row in rows if row.closed_ms is not None and row.posted_ms is not None]
            self._poster.over(alerts_of(over, self._link))

    def count(self, row: AlarmRow) -> None:
        """Count an alarm once it is worth telling."""
        if row.notified_ms is not None and row.key not in self._counted:
            self._counted.add(row.key)
            self._metrics.notified(severity_class(row.severity))

    def noted(self, rows: Iterable[AlarmRow]) -> list[AlarmRow]:
        """The rows in which Alertmanager's answer changes something: it knows them, or people silenced them there."""
        if self._poster is None:
            return []
        known, silenced = self._poster.known, self._poster.silenced
        changed = []
        for row in rows:
            labels = labels_of(row)
            posted = known.get(labels) if row.posted_ms is None and row.notified_ms is not None else row.posted_ms
            noted = row._replace(posted_ms=posted, silenced_by=silenced.get(labels, ""))
            if noted != row:
                changed.append(noted)
        return changed

    def tell(self, rows: Iterable[AlarmRow], now_ms: int) -> dict[AlarmKey, State]:
        """Tell what is on; returns the state of each alarm."""
        rows = list(rows)
        if now_ms - self._asked_ms >= ACTIONS_MS:
            self._asked_ms = now_ms
            found = actions_of(self._store, (row.key for row in rows))
            self._done = {key: [action.done for action in actions] for key, actions in found.items()}
            self._counted &= {row.key for row in rows}
        states = {row.key: self._state(row, now_ms) for row in rows}
        if self._poster is not None:
            self._poster.tell(self._alerts(row for row in rows if self._is_on(row, states[row.key], now_ms)))
        return states

    def settled(self, row: AlarmRow, now_ms: int) -> bool:
        """Whether nobody has to be told any more of an alarm that is over."""
        return not self._is_on(row, self._state(row, now_ms), now_ms)

    def _alerts(self, rows: Iterable[AlarmRow]) -> dict[Labels, Alert]:
        return alerts_of(rows, self._link)

    def _state(self, row: AlarmRow, now_ms: int) -> State:
        return state_of(self._done.get(row.key, []), row.last_record_ms, row.closed_ms, now_ms)

    def _is_on(self, row: AlarmRow, state: State, now_ms: int) -> bool:
        """Whether Alertmanager shall know of it: not what people put aside, and not what is over and was told."""
        if row.notified_ms is None or self._poster is None:
            return False
        if row.closed_ms is None:
            return state in ("active", "acknowledged")
        done = self._done.get(row.key)
        if done and done[-1].action != "acknowledge":
            return False
        if row.posted_ms is None:
            return now_ms - row.closed_ms < LATE_MS
        return now_ms - row.posted_ms < FIRES_MS
