"""What a backtest found, counted: per rule, per station, and against labels per kind of fault."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from core.episodes import episodes
from models.evaluation.backtest import DUPLICATE, TRAINING, Backtest
from models.evaluation.evaluation import MARGIN, Labels, Outcome, evaluate
from models.evaluation.scored_rows import Rows, Scored
from models.kernels.alarm_budget import episodes_per_day
from models.scoring.history import History
from models.scoring.rules import RULE_BITS, RULES

_DAY = 86_400.0


@dataclass(frozen=True)
class Station:
    """A station in the table; its place among the stations, counts over its readings behind the training."""

    place: int
    station_id: str
    readings: int
    flagged: int
    episodes: int
    days: float
    highest: float
    false_alarms: int | None = None

    @property
    def episodes_per_day(self) -> float:
        """Alarm episodes per day of readings; NaN when there are none."""
        return self.episodes / self.days if self.days else math.nan


@dataclass(frozen=True)
class Kind:
    """How a kind of fault was found; recall and precision in [0, 1], delays the median of those that were found."""

    kind: str
    faults: int
    recall: float
    net_recall: float
    score_recall: float
    precision: float
    delay_readings: float
    delay_seconds: float


@dataclass(frozen=True)
class Tables:
    """All that is counted.

    Args:
        stations: most alarm episodes first.
        rules: name of a rule, or of what else fired → rows, without duplicates and training.
        kinds: per kind of fault, the last one of all kinds; empty without labels.
        outcome: against the labels; None without.
        aim: false alarm episodes per station and day that the limits aim at.
    """

    stations: list[Station]
    rules: dict[str, int]
    kinds: list[Kind]
    outcome: Outcome | None
    aim: float

    @property
    def episodes_per_day(self) -> float:
        """Alarm episodes per station and day of readings behind the training; NaN when there are none."""
        days = sum(station.days for station in self.stations)
        return sum(station.episodes for station in self.stations) / days if days else math.nan


def tabulate(history: History, result: Backtest, labels: Labels | None) -> Tables:
    """Count what a backtest found.

    Args:
        history: what was judged.
        result: what was said of it.
        labels: known faults; station codes are in order of first arrival. None when nothing is known.
    """
    rows = np.flatnonzero(result.state != DUPLICATE)
    scored = Scored(
        station=history.codes()[rows],
        time_ms=history.event_ms[rows],
        score=result.score[rows],
        flagged=result.flagged[rows],
        judged=result.state[rows] != TRAINING,
    )
    cadence = result.model.prior.cadence
    outcome = None if labels is None else evaluate(scored, labels)
    return Tables(
        stations=_stations(scored, list(dict.fromkeys(history.station_ids)), labels),
        rules=_rules(result, rows[scored.judged]),
        kinds=[] if outcome is None else _kinds(outcome),
        outcome=outcome,
        aim=episodes_per_day(result.model.detector.spec.budget, cadence),
    )


def as_text(tables: Tables) -> str:
    """Return the figures per kind of fault for a terminal."""
    outcome = tables.outcome
    if outcome is None:
        return ""
    head = f"{'kind':<24}{'faults':>8}{'recall':>8}{'net':>8}{'score':>8}{'prec.':>8}{'delay':>8}{'s':>10}"
    lines = [
        f"{kind.kind[:23]:<24}{kind.faults:>8}{kind.recall:>8.2f}{kind.net_recall:>8.2f}{kind.score_recall:>8.2f}"
        f"{kind.precision:>8.2f}{kind.delay_readings:>8.0f}{kind.delay_seconds:>10.0f}"
        for kind in tables.kinds
    ]
    tail = (
        f"{outcome.false_alarms_per_day:.2f} false alarm episodes per station and day (aim {tables.aim:.2g}), "
        f"{outcome.clean_flagged:.3%} of clean readings flagged, point AUC {outcome.auc:.3f}"
    )
    return "\n".join([head, *lines, tail])


def _stations(scored: Scored, names: list[str], labels: Labels | None) -> list[Station]:
    rows = Rows.of(scored, None)
    n = len(names)
    flagged = rows.flagged & rows.judged
    judged = np.bincount(rows.station[rows.judged], minlength=n)
    hits = np.bincount(rows.station[flagged], minlength=n)
    days = np.bincount(rows.station[rows.judged], rows.cadence[rows.judged], minlength=n) / _DAY
    highest = np.full(n, 0.0)
    np.maximum.at(highest, rows.station[rows.judged], rows.score[rows.judged])
    alarms = _episodes(rows, flagged, n)
    false = None if labels is None else _episodes(rows, flagged & _clean(rows, labels), n)
    stations = [
        Station(
            place,
            names[place],
            int(judged[place]),
            int(hits[place]),
            int(alarms[place]),
            float(days[place]),
            float(highest[place]),
            None if false is None else int(false[place]),
        )
        for place in range(n)
    ]
    return sorted(stations, key=lambda station: (-station.episodes, -station.flagged, -station.highest, station.place))


def _episodes(rows: Rows, flagged: np.ndarray, n: int) -> np.ndarray:
    found = episodes(rows.station, rows.ordinal, flagged)
    return np.bincount(found.station, found.counts, minlength=n).astype(np.int64)


def _clean(rows: Rows, labels: Labels) -> np.ndarray:
    """Whether a row lies neither in a fault nor in its aftermath, as `evaluate` sees it."""
    first, last = rows.spans(labels.station, labels.start_ms, labels.end_ms)
    kept = last > first
    first, last = first[kept], last[kept]
    return ~rows.covered(first, np.minimum(last + MARGIN, rows.station_end(first)))


def _rules(result: Backtest, rows: np.ndarray) -> dict[str, int]:
    flags, flagged = result.flags[rows], result.flagged[rows]
    counts = {rule.name: int(((flags & rule.bit) != 0).sum()) for rule in RULES}
    by_rule = (flags & RULE_BITS) != 0
    counts["witnesses or forest alone"] = int((flagged & ~by_rule).sum())
    return counts


def _kinds(outcome: Outcome) -> list[Kind]:
    names = sorted(set(outcome.labels.kind))
    return [_kind(outcome, name) for name in names] + [_kind(outcome, None)]


def _kind(outcome: Outcome, name: str | None) -> Kind:
    summary = outcome.summary(name)
    rows = outcome.chosen(name) & outcome.found
    found, seconds = int(rows.sum()), outcome.delay_seconds[rows]
    alarms = found + outcome.false_alarms
    return Kind(
        kind=name or "all kinds",
        faults=int(summary["faults"]),
        recall=summary.get("recall", math.nan),
        net_recall=summary.get("net_recall", math.nan),
        score_recall=summary.get("score_recall", math.nan),
        precision=found / alarms if alarms else math.nan,
        delay_readings=summary.get("median_delay", math.nan),
        delay_seconds=float(np.median(seconds)) if found else math.nan,
    )
