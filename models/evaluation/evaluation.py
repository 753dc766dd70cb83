"""How good verdicts are, against labelled faults: recall, delay, false alarms, what of it is luck.

Pure, on plain arrays. Rows are readings of many stations; those of training are left out by `judged`. A row is one of:
*fault* (within a labelled span), *aftermath* (the `margin` readings after one, in which statistics settle) or *clean*.
False alarms are counted on clean rows; what the aftermath adds is reported beside it, not hidden.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.episodes import counted
from models.evaluation.scored_rows import Rows, Scored

# A fault of one to three readings may be confirmed just behind its end. Longer ones have time enough, and the jump back
# at the end of a drift, seen behind it, is no detection of the drift.
GRACE = {"spike": 2, "dip": 2}
MARGIN = 60  # readings; after as many an episode that stays on counts again


@dataclass(frozen=True)
class Labels:
    """Labelled faults, one entry each.

    Args:
        station: (m,) int code as in `Scored`.
        kind: (m,) names, see `faults.KINDS`.
        magnitude: (m,) float64 in the sensor's standard deviations; NaN where it means nothing.
        start_ms, end_ms: (m,) int64, half-open.
    """

    station: np.ndarray
    kind: Sequence[str]
    magnitude: np.ndarray
    start_ms: np.ndarray
    end_ms: np.ndarray

    def __len__(self) -> int:
        return len(self.station)


@dataclass(frozen=True)
class Outcome:
    """What became of the faults, and the alarms without one. Arrays have one entry per fault.

    Args:
        labels: the faults that have a judged reading.
        found: (m,) bool, a reading of the span, or of the grace behind it, is flagged.
        delay: (m,) float64, readings from the fault's first to the first flagged, NaN if not found.
        delay_seconds: (m,) float64, the same in event time.
        chance: (m,) float64, share of spans of the same length outside faults that hold a flagged reading.
        found_by_score: (m,) bool, as `found` for a threshold on the score alone, set so that clean rows give
            `episodes_allowed` false alarm episodes per station and day.
        score_threshold: that threshold; flagged is what lies above it.
        station_days: clean ones, each row counting as one cadence.
        false_alarms: episodes on clean rows, as `episodes` counts.
        clean_flagged: share of clean rows that are flagged.
        aftermath_alarms: how often an episode counts within the margin behind a fault, per fault.
        aftermath_flagged: share of the margin's rows that are flagged.
        auc: area under the ROC curve of fault rows against clean rows; NaN where one of them is missing.
    """

    labels: Labels
    found: np.ndarray
    delay: np.ndarray
    delay_seconds: np.ndarray
    chance: np.ndarray
    found_by_score: np.ndarray
    score_threshold: float
    station_days: float
    false_alarms: int
    clean_flagged: float
    aftermath_alarms: float
    aftermath_flagged: float
    auc: float

    @property
    def false_alarms_per_day(self) -> float:
        """False alarm episodes per station and day on clean rows."""
        return self.false_alarms / self.station_days if self.station_days else math.nan

    def chosen(self, kind: str | None = None, magnitude: float | None = None) -> np.ndarray:
        """Return which faults are of a kind and a magnitude, (m,) bool; None is any."""
        chosen = np.ones(len(self.labels), dtype=bool)
        if kind is not None:
            chosen &= np.array([name == kind for name in self.labels.kind], dtype=bool)
        if magnitude is not None:
            chosen &= self.labels.magnitude == magnitude
        return chosen

    def summary(self, kind: str | None = None, magnitude: float | None = None) -> dict[str, float]:
        """Return number, recall, recall net of chance, recall by score alone and median delay of some of the faults."""
        rows = self.chosen(kind, magnitude)
        number = int(rows.sum())
        if not number:
            return {"faults": 0}
        recall, chance = float(self.found[rows].mean()), float(self.chance[rows].mean())
        late = self.delay[rows & self.found]
        return {
            "faults": number,
            "recall": recall,
            "chance": chance,
            "net_recall": (recall - chance) / (1.0 - chance) if chance < 1.0 else 0.0,
            "score_recall": float(self.found_by_score[rows].mean()),
            "median_delay": float(np.median(late)) if len(late) else math.nan,
        }


def evaluate(
    scored: Scored,
    labels: Labels,
    *,
    margin: int = MARGIN,
    episodes_allowed: float = 1.0,
    cadence: float | None = None,
) -> Outcome:
    """Hold verdicts against labels.

    Args:
        scored: all readings of the stations, training included, so that ordinals are right.
        labels: faults. One without any judged reading is left out.
        margin: readings behind a fault that count as its aftermath.
        episodes_allowed: false alarm episodes per station and day at which the score alone is judged.
        cadence: s; None takes each station's median step.
    """
    rows = Rows.of(scored, cadence)
    first, last = rows.spans(labels.station, labels.start_ms, labels.end_ms)
    kept = np.flatnonzero(last > first)
    labels, first, last = _taken(labels, kept), first[kept], last[kept]
    fault = rows.covered(first, last)
    after = rows.covered(last, np.minimum(last + margin, rows.station_end(first))) & ~fault & rows.judged
    clean = rows.judged & ~fault & ~after
    fault &= rows.judged
    grace = np.array([GRACE.get(kind, 0) for kind in labels.kind], dtype=np.int64)
    end = np.minimum(last + grace, rows.station_end(first))

    seen = rows.next_flagged(rows.flagged & rows.judged)[first]
    found = seen < end
    at = np.where(found, seen, first)
    chance = rows.chance(rows.flagged, rows.judged & ~fault)[end - first]
    days = rows.days(clean)
    threshold = rows.threshold(clean, episodes_allowed * days)
    above = rows.next_flagged((rows.score > threshold) & rows.judged)[first] < end
    alarms = counted(rows.station, rows.ordinal, rows.flagged & rows.judged)
    return Outcome(
        labels=labels,
        found=found,
        delay=np.where(found, at - first, np.nan),
        delay_seconds=np.where(found, (rows.time_ms[at] - rows.time_ms[first]) / 1000.0, np.nan),
        chance=chance,
        found_by_score=above,
        score_threshold=threshold,
        station_days=days,
        false_alarms=rows.count(rows.flagged & clean),
        clean_flagged=_share(rows.flagged, clean),
        aftermath_alarms=float(alarms[after].sum()) / max(len(labels), 1),
        aftermath_flagged=_share(rows.flagged, after),
        auc=point_auc(rows.score[fault | clean], fault[fault | clean]),
    )


def point_auc(score: np.ndarray, positive: np.ndarray) -> float:
    """Return the area under the ROC curve of single rows, NaN unless there are both kinds of rows."""
    from sklearn.metrics import roc_auc_score

    if not len(score) or positive.all() or not positive.any():
        return math.nan
    return float(roc_auc_score(positive, score))


def _taken(labels: Labels, kept: np.ndarray) -> Labels:
    kinds = [labels.kind[number] for number in kept.tolist()]
    return Labels(labels.station[kept], kinds, labels.magnitude[kept], labels.start_ms[kept], labels.end_ms[kept])


def _share(flagged: np.ndarray, rows: np.ndarray) -> float:
    return float(flagged[rows].mean()) if rows.any() else 0.0
