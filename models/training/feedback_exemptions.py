"""What people said of anomalies, and what the next version learns from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.feedback import FALSE_POSITIVE, TRUE_POSITIVE
from models.scoring.exemptions import Exemptions, distances, look_of
from models.scoring.feature_block import Blocks
from models.scoring.rules import RULE_BITS, RULES

_PAUSE_MS = 3_600_000  # labels of a station farther apart are of another episode
_SUPPORT = 1  # other labels that must look the same: a slip of the hand exempts nothing
_RADIUS_SHARE = 0.97
_RADII = (0.2, 0.7)  # logs: a factor of 1.2 at least, of 2 at most
_MOST_LOOKS = 512
_NEVER_EXEMPT = sum(rule.bit for rule in RULES if not rule.exempting)
_MOST_LABELS = 4000


@dataclass(frozen=True)
class Labels:
    """Anomalies that people spoke about.

    Args:
        station_ids: n names.
        event_ms: (n,) int64, ms since the epoch.
        verdicts: n words of the API: `true_positive`, `false_positive` or `expected`.
        flags: (n,) int32 of `Flag`.
        blocks: n readings.
    """

    station_ids: Sequence[str]
    event_ms: np.ndarray
    verdicts: Sequence[str]
    flags: np.ndarray
    blocks: Blocks

    def __len__(self) -> int:
        return len(self.event_ms)

    def of(self, verdict: str) -> Labels:
        """Return those of one verdict, the newest ones if there are very many."""
        rows = np.flatnonzero(np.array([said == verdict for said in self.verdicts], bool))
        rows = np.sort(rows[np.argsort(self.event_ms[rows], kind="stable")][-_MOST_LABELS:])
        return Labels(
            [self.station_ids[row] for row in rows.tolist()],
            self.event_ms[rows],
            [verdict] * len(rows),
            self.flags[rows],
            self.blocks.take(rows),
        )


def learn_exemptions(labels: Labels) -> Exemptions | None:
    """Learn which looks fire no more; None when the labels do not say so clearly enough.

    A look needs another false alarm of its station that looks the same. How near is "the same" is learnt from the
    labels: the distance within which nearly all of them find one of another episode of their station, a factor of 1.2
    to 2; at most half the way to an anomaly that people confirmed.
    """
    false = labels.of(FALSE_POSITIVE)
    usable = (false.flags & _NEVER_EXEMPT) == 0
    rows = np.flatnonzero(usable)
    if len(rows) <= _SUPPORT:
        return None
    names = np.array(false.station_ids, object)[rows]
    looks = look_of(false.blocks.take(rows))
    apart = distances(looks, looks)
    same_station = names[:, np.newaxis] == names
    radius = np.full(len(rows), _learnt_radius(apart, same_station, false.event_ms[rows]), np.float32)
    true = labels.of(TRUE_POSITIVE)
    if len(true):
        mistaken = distances(look_of(true.blocks), looks)
        mistaken[np.array(true.station_ids, object)[:, np.newaxis] != names] = np.inf
        radius = np.minimum(radius, 0.5 * mistaken.min(axis=0))
    support = ((apart <= radius[:, np.newaxis]) & same_station).sum(axis=1) - 1
    kept = _thinned(np.flatnonzero((support >= _SUPPORT) & (radius > 0.0)), apart, radius, names)
    if not len(kept):
        return None
    rules = (false.flags[rows] & RULE_BITS).astype(int)
    return Exemptions(
        sensors=false.blocks.sensors,
        stations=tuple(str(names[row]) for row in kept.tolist()),
        rules=tuple(int(rules[row]) for row in kept.tolist()),
        radius=tuple(round(float(radius[row]), 4) for row in kept.tolist()),
        looks=looks[kept].astype("<f2").tobytes(),
    )


def _learnt_radius(apart: np.ndarray, same_station: np.ndarray, event_ms: np.ndarray) -> float:
    """Return within which distance nine in ten labels have a neighbour of another episode of their station."""
    other_episode = same_station & (np.abs(event_ms[:, np.newaxis] - event_ms) > _PAUSE_MS)
    nearest = np.where(other_episode, apart, np.inf).min(axis=1)
    nearest = nearest[np.isfinite(nearest)]
    if not len(nearest):
        return _RADII[0]
    return float(np.clip(np.quantile(nearest, _RADIUS_SHARE), *_RADII))


def _thinned(kept: np.ndarray, apart: np.ndarray, radius: np.ndarray, stations: np.ndarray) -> np.ndarray:
    """Drop looks that lie close to another one of their station, and all beyond a bounded number."""
    chosen: list[int] = []
    for row in kept.tolist():
        close = (apart[row, chosen] <= radius[row] / 4.0) & (stations[chosen] == stations[row])
        if not close.any():
            chosen.append(row)
    return np.array(chosen[-_MOST_LOOKS:], np.int64)
