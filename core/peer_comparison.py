"""Is it one station or the whole hall? What the stations of a group say of each other, minute by minute.

Belongs to an episode, not to a reading's verdict: it looks at closed minutes, when all stations have reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from core.station_groups import LEAST_STATIONS

ONE_STATION: Final = "one_station"
WHOLE_HALL: Final = "whole_hall"
UNKNOWN: Final = "unknown"
# Half a normal band: a station's mean of a minute is rarely so far off by itself, and a change of the hall that takes
# one station out of its band takes the others about as far.
_DEVIATES = 0.5


@dataclass(frozen=True)
class GroupMinutes:
    """Closed minutes of the stations of a group; rows are stations, NaN where a station or sensor did not report.

    Args:
        mean: (n_stations, n_minutes, n_sensors) minute means, sensor units.
        lower, typical, upper: the same shape, the bands these minutes were closed with.
    """

    mean: np.ndarray
    lower: np.ndarray
    typical: np.ndarray
    upper: np.ndarray


@dataclass(frozen=True)
class PeerView:
    """What the peers of a station say of one sensor.

    Args:
        verdict: `one_station`, `whole_hall`, or `unknown` where fewer than three stations reported, or the station
            itself does not deviate.
        reported: stations with a usable minute, the station itself included.
        share: of the peers, how many deviate in the station's direction; NaN if unknown.
        station: the station's median deviation in half bands: 1 is at the edge of normal; NaN if unknown.
        peers: the median of the peers' deviations.
    """

    verdict: Literal["one_station", "whole_hall", "unknown"]
    reported: int
    share: float
    station: float
    peers: float


def peer_view(group: GroupMinutes, station: int) -> list[PeerView]:
    """Compare a station with its group, sensor by sensor.

    A deviation is (mean - typical) / half band, so that lively and quiet stations compare; a station's is the median
    over the minutes. The hall is what moved when half of the peers or more deviate in the station's direction, and
    their median does.

    Args:
        group: the minutes of an episode, of all stations of the group.
        station: row of the station in question.

    Returns:
        One view per sensor.

    Raises:
        ValueError: arrays of different shapes, or no such row.
    """
    if not group.mean.shape == group.lower.shape == group.typical.shape == group.upper.shape or group.mean.ndim != 3:
        raise ValueError(f"minutes of a group have one shape (stations, minutes, sensors), got {group.mean.shape}")
    if not 0 <= station < len(group.mean):
        raise ValueError(f"station {station}: the group has {len(group.mean)}")
    deviation = _deviations(group)
    return [_view(deviation[:, sensor], station) for sensor in range(deviation.shape[1])]


def _deviations(group: GroupMinutes) -> np.ndarray:
    """Median over the minutes of the distance from typical in half bands, (n_stations, n_sensors), NaN if none."""
    away = group.mean - group.typical
    half = np.where(away >= 0.0, group.upper - group.typical, group.typical - group.lower)
    usable = half > 0.0
    z = np.where(usable, away / np.where(usable, half, 1.0), np.nan)
    known = ~np.isnan(z).all(axis=1)
    median = np.full(known.shape, np.nan)
    rows, sensors = np.nonzero(known)
    median[rows, sensors] = np.nanmedian(z[rows, :, sensors], axis=1)
    return median


def _view(deviation: np.ndarray, station: int) -> PeerView:
    own, reported = float(deviation[station]), int((~np.isnan(deviation)).sum())
    peers = np.delete(deviation, station)
    peers = peers[~np.isnan(peers)]
    if reported < LEAST_STATIONS or np.isnan(own):
        return PeerView(UNKNOWN, reported, np.nan, own, np.nan)
    along = np.sign(own) * peers
    share, middle = float((along >= _DEVIATES).mean()), float(np.median(peers))
    if abs(own) < _DEVIATES:
        return PeerView(UNKNOWN, reported, share, own, middle)
    hall = share >= 0.5 and float(np.median(along)) >= _DEVIATES
    return PeerView(WHOLE_HALL if hall else ONE_STATION, reported, share, own, middle)
