"""Anomalies folded into episodes, one at a time, as `core.episodes` defines them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from core.episodes import GAP
from storage.tables.anomalies import AnomalyRow


class _Contribution(msgspec.Struct):
    name: str
    contribution: float | None = None


class _Said(msgspec.Struct):
    """The part of a verdict document that lists show."""

    explanation: str = ""
    sensors: list[_Contribution] = []


_decode = msgspec.json.Decoder(_Said).decode


@dataclass
class Episode:
    """Flagged readings of one station with gaps of at most `GAP` readings. Times in ms since the epoch.

    `first` is its identity in lists; sentence, sensor and severity are those of the worst reading.
    """

    station_id: str
    first_ms: int
    first_seq: int
    last_ms: int
    last_ordinal: int
    readings: int
    worst_ms: int
    worst_seq: int
    severity: float
    sentence: str
    sensor: str

    @property
    def identity(self) -> tuple[str, int, int]:
        """Of the first anomaly that arrived; later ones extend and never rename."""
        return self.station_id, self.first_ms, self.first_seq


class EpisodeFold:
    """The newest episodes of the plant.

    Takes anomalies in order of arrival, which within a station is the order of its ordinals; one that was seen before
    changes nothing. A late anomaly extends the episode that was open when it arrived.

    Args:
        kept: most closed episodes held. The latest of each station is held beside them.
    """

    def __init__(self, kept: int = 500) -> None:
        self.latest: dict[str, Episode] = {}
        self._held: deque[Episode] = deque(maxlen=kept)

    def add(self, rows: Iterable[AnomalyRow]) -> None:
        """Take further anomalies."""
        for row in rows:
            held = self.latest.get(row.station_id)
            if held is not None and row.ordinal <= held.last_ordinal:
                continue
            if held is None or row.ordinal - held.last_ordinal > GAP:
                self._begin(row)
            else:
                _extend(held, row)

    def newest(self, limit: int) -> list[Episode]:
        """At most `limit` episodes, the one that was last active first."""
        return sorted(self._held, key=lambda episode: -episode.last_ms)[:limit]

    def since(self, start_ms: int) -> dict[str, int]:
        """How many episodes of each station were active at `start_ms` or later."""
        found: dict[str, int] = {}
        for episode in self._held:
            if episode.last_ms >= start_ms:
                found[episode.station_id] = found.get(episode.station_id, 0) + 1
        return found

    def open_of(self, station_id: str, ordinal: int) -> Episode | None:
        """The station's open episode when its newest reading is number `ordinal`, or None."""
        held = self.latest.get(station_id)
        return held if held is not None and ordinal - held.last_ordinal <= GAP else None

    def _begin(self, row: AnomalyRow) -> None:
        sentence, sensor = said(row.verdict)
        episode = Episode(
            row.station_id, row.event_ms, row.seq, row.event_ms, row.ordinal, 1, row.event_ms, row.seq, row.severity,
            sentence, sensor,
        )  # fmt: skip
        self.latest[row.station_id] = episode
        self._held.append(episode)


def _extend(episode: Episode, row: AnomalyRow) -> None:
    episode.last_ordinal = row.ordinal
    episode.last_ms = max(episode.last_ms, row.event_ms)
    episode.readings += 1
    if row.severity > episode.severity:
        episode.severity, episode.worst_ms, episode.worst_seq = row.severity, row.event_ms, row.seq
        episode.sentence, episode.sensor = said(row.verdict)


def said(verdict: str) -> tuple[str, str]:
    """The sentence of a verdict document and the sensor that contributes most; empty where it says neither."""
    if not verdict:
        return "", ""
    found = _decode(verdict)
    known = [sensor for sensor in found.sensors if sensor.contribution is not None]
    worst = max(known, key=lambda sensor: sensor.contribution or 0.0, default=None)
    return found.explanation, worst.name if worst else ""
