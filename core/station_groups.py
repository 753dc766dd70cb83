"""Which stations stand together: a hall, a line, whatever feels the same weather."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from core.reading import STATION_ID

LEAST_STATIONS: Final = 3
"""Fewer say nothing of each other."""

GROUP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,63}")
_PATTERN = re.compile(r"[A-Za-z0-9_\-*?\[\]!]{1,64}")


@dataclass(frozen=True)
class StationGroups:
    """Names of groups and their stations.

    Args:
        members: group → its station ids, or one pattern such as `station-00*` (`*`, `?` and `[a-z]` as in file names).
            Of several groups that a station fits, the first holds.

    Raises:
        ValueError: a name or an id that is none, a list of fewer than three stations, one in two lists.
    """

    members: Mapping[str, str | tuple[str, ...]]

    def __post_init__(self) -> None:
        listed: dict[str, str] = {}
        for name, given in self.members.items():
            if not GROUP_NAME.fullmatch(name):
                raise ValueError(f"group {name!r}: expected a name like {GROUP_NAME.pattern}")
            if isinstance(given, str):
                if not _PATTERN.fullmatch(given):
                    raise ValueError(f"group {name!r}: {given!r} is no pattern of station ids")
                continue
            _check_list(name, given, listed)

    def group_of(self, station_id: str) -> str | None:
        """The group of a station, None where it is in none."""
        for name, given in self.members.items():
            if fnmatchcase(station_id, given) if isinstance(given, str) else station_id in given:
                return name
        return None


def _check_list(name: str, stations: tuple[str, ...], listed: dict[str, str]) -> None:
    if len(set(stations)) < LEAST_STATIONS:
        raise ValueError(f"group {name!r}: {len(set(stations))} stations; peers need {LEAST_STATIONS} or more")
    for station in stations:
        if not STATION_ID.fullmatch(station):
            raise ValueError(f"group {name!r}: {station!r} is no station id ({STATION_ID.pattern})")
        if station in listed:
            raise ValueError(f"station {station!r} is in the groups {listed[station]!r} and {name!r}; choose one")
        listed[station] = name
