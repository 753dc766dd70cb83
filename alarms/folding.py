"""Anomalies folded into alarms: pure, one reading at a time, so that it matters nowhere where the feed was cut.

An alarm is an episode as `core.episodes` defines it. What is said here beside that: from when on it is
worth telling, when it is over, and how its severity grows with its duration.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from core.episodes import GAP
from core.peer_comparison import UNKNOWN
from models.scoring.rules import RULE_BITS
from storage.tables.alarms import ANOMALY, AlarmKey, AlarmRow
from storage.tables.anomalies import AnomalyRow, leading_sensor
from storage.tables.stations import Heard

HALVES_MS = 30 * 60_000
"""What is missing to severity 100 halves in this time: what stays is worse than what passes."""


@dataclass(frozen=True)
class Policy:
    """When an alarm is worth telling, and when it is over.

    Args:
        fired: so many flagged readings ...
        of: ... among so many of a station make an alarm worth telling; a rule that fires does by itself.
        quiet_ms: record time without an abnormal reading after which an alarm is over.
    """

    fired: int = 3
    of: int = 5
    quiet_ms: int = 60_000


def escalated(worst: float, lasted_ms: int) -> float:
    """Severity of an alarm that has lasted for `lasted_ms`, 0…100, from that of its worst reading."""
    return 100.0 - (100.0 - worst) * 2.0 ** (-max(0, lasted_ms) / HALVES_MS)


class Fold:
    """The alarms that are not over.

    Args:
        policy: when to tell and when to close.
        held: alarms that were open when a fold before this one ended, as stored.
    """

    def __init__(self, policy: Policy, held: Iterable[AlarmRow] = ()) -> None:
        self._policy = policy
        self.open: dict[AlarmKey, AlarmRow] = {row.key: row for row in held if row.kind == ANOMALY}
        self._latest: dict[str, AlarmKey] = {}
        for row in sorted(self.open.values(), key=lambda row: row.last_record_ms):
            self._latest[row.station_id] = row.key

    def add(self, rows: Iterable[AnomalyRow]) -> set[AlarmKey]:
        """Take further anomalies, in order of arrival within a station; what was taken before changes nothing.

        Returns:
            The alarms that are new or have grown.
        """
        changed = set()
        for row in rows:
            latest = self._latest.get(row.station_id)
            held = self.open[latest] if latest is not None else None
            if held is not None and _seen(held, row):
                continue
            if held is not None and 0 < row.ordinal - held.last_ordinal <= GAP:
                grown = _extended(held, row, self._policy)
            else:
                grown = _begun(row, self._policy)
            self.open[grown.key] = grown
            self._latest[row.station_id] = grown.key
            changed.add(grown.key)
        return changed

    def close(self, stations: Mapping[str, Heard]) -> set[AlarmKey]:
        """Close what can grow no more and was quiet for long enough.

        By the station's own time and count, never by a clock: a stream that lags closes nothing, and a fold that
        begins again closes the same alarms at the same moments.

        Args:
            stations: as they were when everything they count was already folded.
        """
        closed = set()
        for key, row in self.open.items():
            heard = stations.get(row.station_id)
            if row.closed_ms is None and heard is not None and self._is_over(row, heard):
                self.open[key] = row._replace(closed_ms=row.last_record_ms + self._policy.quiet_ms)
                closed.add(key)
        return closed

    def replace(self, row: AlarmRow) -> None:
        """Hold a row that differs in what is not folded."""
        self.open[row.key] = row

    def drop(self, key: AlarmKey) -> None:
        """Forget an alarm that is over and stored."""
        row = self.open.pop(key)
        if self._latest.get(row.station_id) == key:
            del self._latest[row.station_id]

    def _is_over(self, row: AlarmRow, heard: Heard) -> bool:
        quiet = heard.last_record_ms - row.last_record_ms >= self._policy.quiet_ms
        may_grow = self._latest.get(row.station_id) == row.key and 0 <= heard.readings - row.last_ordinal <= GAP
        return quiet and not may_grow


def _seen(held: AlarmRow, row: AnomalyRow) -> bool:
    return row.kafka_partition == held.kafka_partition and row.kafka_offset <= held.last_offset


def _begun(row: AnomalyRow, policy: Policy) -> AlarmRow:
    sentence, action = said(row.verdict)
    alarm = AlarmRow(
        station_id=row.station_id, begun_ms=row.event_ms, seq=row.seq, kind=ANOMALY,
        kafka_partition=row.kafka_partition, last_offset=row.kafka_offset,
        first_ordinal=row.ordinal, last_ordinal=row.ordinal, recent=(row.ordinal,), readings=1,
        first_record_ms=row.record_ms, last_record_ms=row.record_ms, last_ms=row.event_ms,
        flags=row.flags, worst_severity=row.severity, worst_ms=row.event_ms, worst_seq=row.seq, severity=row.severity,
        sensor=leading_sensor(row.verdict) or "", sentence=sentence, action=action, group="", scope=UNKNOWN,
    )  # fmt: skip
    return _told(alarm, row, policy)


def _extended(held: AlarmRow, row: AnomalyRow, policy: Policy) -> AlarmRow:
    alarm = held._replace(
        last_offset=row.kafka_offset,
        kafka_partition=row.kafka_partition,
        last_ordinal=row.ordinal,
        recent=(*held.recent, row.ordinal)[-policy.fired :],
        readings=held.readings + 1,
        last_record_ms=max(held.last_record_ms, row.record_ms),
        last_ms=max(held.last_ms, row.event_ms),
        flags=held.flags | row.flags,
        closed_ms=None,
    )
    if row.severity > held.worst_severity:
        sentence, action = said(row.verdict)
        alarm = alarm._replace(
            worst_severity=row.severity, worst_ms=row.event_ms, worst_seq=row.seq,
            sensor=leading_sensor(row.verdict) or "", sentence=sentence, action=action,
        )  # fmt: skip
    lasted_ms = alarm.last_record_ms - alarm.first_record_ms
    return _told(alarm._replace(severity=escalated(alarm.worst_severity, lasted_ms)), row, policy)


def _told(alarm: AlarmRow, row: AnomalyRow, policy: Policy) -> AlarmRow:
    """The alarm, worth telling from this reading on if it is the one that makes it so."""
    if alarm.notified_ms is not None:
        return alarm
    recent = [ordinal for ordinal in alarm.recent if ordinal > row.ordinal - policy.of]
    if len(recent) >= policy.fired or row.flags & RULE_BITS:
        return alarm._replace(notified_ms=row.record_ms)
    return alarm


def said(verdict: str) -> tuple[str, str]:
    """The sentence and the advice of a verdict document, whatever release wrote it; empty where it says nothing."""
    try:
        found: Any = msgspec.json.decode(verdict or "{}")
    except msgspec.MsgspecError:
        return "", ""
    if not isinstance(found, dict):
        return "", ""
    action = found.get("action")
    advice = action.get("text") if isinstance(action, dict) else action
    return str(found.get("explanation") or ""), str(advice or "")
