"""Alarms of stations that nobody hears any more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from alarms.folding import escalated
from core.peer_comparison import UNKNOWN
from core.station_silence import allowed_ms, is_silent
from storage.tables.alarms import SILENT, AlarmKey, AlarmRow
from storage.tables.stations import Heard

SEVERITY = 60.0
"""Of a station that has just fallen silent: nobody knows whether it burns."""

ADVICE = "Look whether the station has power and network, and whether its gateway sends."


class SilentStations:
    """The silent stations that are known; none is found silent twice for the same last reading.

    Args:
        held: alarms that were open when a process before this one ended, as stored.
    """

    def __init__(self, held: Iterable[AlarmRow] = ()) -> None:
        self.open: dict[AlarmKey, AlarmRow] = {row.key: row for row in held if row.kind == SILENT}

    def look(self, stations: Mapping[str, Heard], now_ms: int) -> set[AlarmKey]:
        """See who fell silent, who speaks again, and whose silence has grown worse; returns what changed.

        Not for: a stale stream, or one that has just begun to watch again; everybody seems silent then.

        Args:
            stations: all of the plant.
            now_ms: ms since the epoch.
        """
        changed = set()
        for key, row in self.open.items():
            heard = stations.get(row.station_id)
            if row.closed_ms is None and heard is not None and heard.last_record_ms > row.begun_ms:
                self.open[key] = row._replace(closed_ms=heard.last_record_ms)
                changed.add(key)
        for heard in stations.values():
            if is_silent(heard.last_record_ms, heard.typical_interval_seconds, now_ms):
                key = AlarmKey(heard.station_id, heard.last_record_ms, 0, SILENT)
                held = self.open.get(key)
                row = begun(heard) if held is None else held
                row = row._replace(severity=float(round(escalated(SEVERITY, now_ms - row.first_record_ms))))
                if row != held:
                    self.open[key] = row
                    changed.add(key)
        return changed


def begun(heard: Heard) -> AlarmRow:
    """The alarm of a station's silence; its identity is the record time of the last reading."""
    since = heard.last_record_ms
    raised = since + round(allowed_ms(heard.typical_interval_seconds))
    interval = heard.typical_interval_seconds
    usual = "." if interval is None else f"; it usually sends every {interval:.3g} s."
    return AlarmRow(
        station_id=heard.station_id, begun_ms=since, seq=0, kind=SILENT, kafka_partition=-1, last_offset=-1,
        first_ordinal=heard.readings, last_ordinal=heard.readings, recent=(), readings=0, first_record_ms=raised,
        last_record_ms=since, last_ms=since, flags=0, worst_severity=SEVERITY, worst_ms=since, worst_seq=0,
        severity=SEVERITY, sensor="", sentence=f"Nothing has been heard of {heard.station_id}{usual}", action=ADVICE,
        group="", scope=UNKNOWN, notified_ms=raised,
    )  # fmt: skip
