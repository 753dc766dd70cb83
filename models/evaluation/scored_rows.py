"""Judged readings in order, and what can be counted over them: stretches, waits, episodes. For `evaluation`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from core.episodes import episodes

_DAY = 86_400.0
_ENOUGH = 500  # stretches of a length from which their share of alarms is read off


@dataclass(frozen=True)
class Scored:
    """Judged readings, in any order.

    Args:
        station: (n,) int code of the station.
        time_ms: (n,) int64 event time.
        score: (n,) float64, high is abnormal.
        flagged: (n,) bool.
        judged: (n,) bool, False for training rows, which count nowhere.
    """

    station: np.ndarray
    time_ms: np.ndarray
    score: np.ndarray
    flagged: np.ndarray
    judged: np.ndarray


@dataclass(frozen=True)
class Rows:
    """Judged readings in order of station and time.

    Args:
        station, time_ms, score, flagged, judged: (n,) as in `Scored`.
        ordinal: (n,) int64, 1 for a station's first row.
        cadence: (n,) float64 s, what a row counts for.
        codes: (n_stations,) ascending.
        begin, end: (n_stations,) a station's rows, half-open.
    """

    station: np.ndarray
    time_ms: np.ndarray
    score: np.ndarray
    flagged: np.ndarray
    judged: np.ndarray
    ordinal: np.ndarray
    cadence: np.ndarray
    codes: np.ndarray
    begin: np.ndarray
    end: np.ndarray

    @classmethod
    def of(cls, scored: Scored, cadence: float | None) -> Rows:
        """Sort. `cadence` in s; None takes each station's median step.

        Raises:
            ValueError: a score that is NaN.
        """
        order = np.lexsort((scored.time_ms, scored.station))
        columns = (scored.station, scored.time_ms, scored.score, scored.flagged, scored.judged)
        station, time_ms, score, flagged, judged = (np.asarray(column)[order] for column in columns)
        if np.isnan(score).any():
            raise ValueError(f"{int(np.isnan(score).sum())} of {len(score)} scores are NaN; every row needs a score")
        codes, begin, sizes = np.unique(station, return_index=True, return_counts=True)
        ordinal = np.arange(len(station)) - np.repeat(begin, sizes) + 1
        end = begin + sizes
        step = [_median_step(time_ms[b:e]) if cadence is None else cadence for b, e in zip(begin, end, strict=True)]
        flagged, judged = flagged.astype(bool), judged.astype(bool)
        return cls(station, time_ms, score, flagged, judged, ordinal, np.repeat(step, sizes), codes, begin, end)

    def spans(self, station: np.ndarray, start_ms: np.ndarray, end_ms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First row and row behind the last of each half-open stretch; equal where it has no judged row."""
        first, last = np.zeros(len(station), dtype=np.int64), np.zeros(len(station), dtype=np.int64)
        place = np.searchsorted(self.codes, station)
        for number, code in enumerate(place):
            if code == len(self.codes) or self.codes[code] != station[number]:
                continue
            begin, end = self.begin[code], self.end[code]
            ends = np.searchsorted(self.time_ms[begin:end], [start_ms[number], end_ms[number]])
            if self.judged[begin + ends[0] : begin + ends[1]].any():
                first[number], last[number] = begin + ends
        return first, last

    def station_end(self, row: np.ndarray) -> np.ndarray:
        """Row behind the last of the station that a row belongs to."""
        return self.end[np.searchsorted(self.begin, row, side="right") - 1]

    def covered(self, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Whether a row lies in one of the half-open stretches, (n,) bool."""
        depth = np.zeros(len(self.station) + 1, dtype=np.int64)
        np.add.at(depth, first, 1)
        np.add.at(depth, last, -1)
        return np.cumsum(depth)[:-1] > 0

    def next_flagged(self, flagged: np.ndarray) -> np.ndarray:
        """The first flagged row at or behind each row, of any station; beyond all rows where there is none."""
        own = np.where(flagged, np.arange(len(flagged)), len(flagged))
        return np.minimum.accumulate(own[::-1])[::-1]

    def count(self, flagged: np.ndarray) -> int:
        """How often the episodes of these flags count."""
        return episodes(self.station, self.ordinal, flagged).count

    def days(self, chosen: np.ndarray) -> float:
        """Station-days that the chosen rows last."""
        return float(self.cadence[chosen].sum()) / _DAY

    def threshold(self, clean: np.ndarray, allowed: float) -> float:
        """Return `score_threshold` of these rows."""
        return score_threshold(self.station[clean], self.ordinal[clean], self.score[clean], allowed)

    def chance(self, flagged: np.ndarray, free: np.ndarray) -> np.ndarray:
        """Share of stretches of each length, all within `free` rows, that hold a flagged one; (n + 1,) by length.

        That is what shifting the alarms around gives on average, over all shifts that land beside the faults.
        """
        n, row = len(free), np.arange(len(free))
        broken = ~free | np.append(self.station[1:] != self.station[:-1], True)
        stop = self.next_flagged(broken)
        room = stop - row + free[stop]
        wait = np.minimum(self.next_flagged(flagged & free) - row, room)
        longest = np.bincount(room, minlength=n + 1)
        fits = np.cumsum(longest[::-1])[::-1].astype(np.float64)
        fits[0] = longest[1:].sum()
        # A stretch of length m from a row holds a flagged one if wait < m <= room.
        hits = np.cumsum(np.bincount(wait + 1, minlength=n + 2) - np.bincount(room + 1, minlength=n + 2))[: n + 1]
        known = np.flatnonzero(fits >= min(_ENOUGH, fits[0]))[-1] if fits[0] else 0
        share = np.zeros(n + 1)
        share[1 : known + 1] = hits[1 : known + 1] / fits[1 : known + 1]
        if known:
            share[known + 1 :] = 1.0 - (1.0 - share[known]) ** (np.arange(known + 1, n + 1) / known)
        return share


def score_threshold(station: np.ndarray, ordinal: np.ndarray, score: np.ndarray, allowed: float) -> float:
    """Return the least threshold above which the score gives at most `allowed` episodes. Flagged is what lies above it.

    Args:
        station: (n,) int codes.
        ordinal: (n,) int, as for `episodes`.
        score: (n,) of rows without any fault.
        allowed: episodes, as they count, in all.
    """
    levels = np.unique(score)[::-1]
    if not len(levels):
        return math.inf

    def fits(place: int) -> bool:
        return episodes(station, ordinal, score > levels[place]).count <= allowed

    # Few episodes at a high threshold, more at a lower: looked for downwards, in growing strides, then between.
    low, high = 0, 1
    while high < len(levels) and fits(high):
        low, high = high, 2 * high
    high = min(high, len(levels))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return float(levels[low])


def _median_step(times: np.ndarray) -> float:
    return float(np.median(np.diff(times))) / 1000.0 if len(times) > 1 else 0.0
