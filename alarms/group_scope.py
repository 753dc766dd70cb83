"""One station or its whole group? Asked of the minutes that have closed since an alarm began."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import numpy as np

from core.peer_comparison import UNKNOWN, GroupMinutes, peer_view
from core.station_groups import LEAST_STATIONS, StationGroups
from core.times import MINUTE_MS, floored
from storage.driver.session import Store
from storage.tables.alarms import AlarmRow
from storage.tables.minutes import MinuteRow, minutes_of

MOST_PEERS = 40
"""So many say as much as all; which ones is chosen by a hash, hence always the same."""

MOST_MINUTES = 30


class Scopes:
    """Knows the groups.

    Args:
        groups: which stations stand together.
    """

    def __init__(self, groups: StationGroups) -> None:
        self._groups = groups

    def group_of(self, station_id: str) -> str:
        """The station's group, empty where it is in none."""
        return self._groups.group_of(station_id) or ""

    def scope_of(self, store: Store, row: AlarmRow, stations: Sequence[str]) -> str:
        """Whether the alarm's station is alone in its group, as far as is known.

        Args:
            store: where from.
            row: of an alarm with a leading sensor.
            stations: ids of all stations that there are.
        """
        peers = [one for one in stations if one != row.station_id and self.group_of(one) == row.group]
        if not row.group or not row.sensor or len(peers) + 1 < LEAST_STATIONS:
            return UNKNOWN
        chosen = [row.station_id, *sorted(peers, key=lambda one: crc32(one.encode()))[:MOST_PEERS]]
        first = floored(row.begun_ms, MINUTE_MS)
        count = min(MOST_MINUTES, (row.last_ms - first) // MINUTE_MS + 1)
        end = first + count * MINUTE_MS
        parts = [table(list(minutes_of(store, one, first, end)), row.sensor, first, count) for one in chosen]
        mean, lower, typical, upper = np.stack(parts, axis=1)[..., np.newaxis]
        return peer_view(GroupMinutes(mean, lower, typical, upper), 0)[0].verdict


def table(rows: Sequence[MinuteRow], sensor: str, first_ms: int, count: int) -> np.ndarray:
    """A station's minutes of a sensor as (4, count): mean, lower, typical, upper; NaN where nothing is known."""
    found = np.full((4, count), np.nan)
    for row in rows:
        held = row.sensors.get(sensor)
        if held is not None and held.lower is not None and held.typical is not None and held.upper is not None:
            found[:, (row.minute_ms - first_ms) // MINUTE_MS] = held.mean, held.lower, held.typical, held.upper
    return found
