"""A backtest: what the stream would have said of a history, had it run then. Pure.

The first readings train one pooled model, all readings are judged by it from an empty state, in the order in which they
arrived. The same state step and the same detector as in the stream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import StationwatchError
from core.sensors import RESERVED_NAMES, SENSOR_NAME, Sensor
from core.verdict import Flag, score_of, severity_of
from models.scoring.detector import Detector, Spec
from models.scoring.features import FEATURES
from models.scoring.history import History
from models.scoring.isolation_forest import PackedForest
from models.scoring.rules import IMPLAUSIBLE
from models.scoring.shard_state import ShardState
from models.scoring.station_prior import Prior, neutral_prior
from models.training.fit import fit_detector, fit_prior

# What the stream takes for impossible unless configured otherwise. Its squares still fit into float32.
FAR = 1e15
STATES = ("stable", "warming_up", "training", "late", "impossible", "duplicate")
STABLE, WARMING_UP, TRAINING, LATE, IMPOSSIBLE, DUPLICATE = range(len(STATES))
_VALUES = 150_000  # of sensors that are judged at once
_MANY_LATE = 0.05

Progress = Callable[[int], object]


@dataclass(frozen=True)
class Model:
    """What the training readings taught.

    Args:
        prior: for the state.
        detector: for the blocks.
        notes: sentences for people: what could not be learnt.
    """

    prior: Prior
    detector: Detector
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Backtest:
    """What was said of each row of a history, in its order. A duplicate repeats what was said of the first.

    Args:
        score: (n,) float64, finite, 1 = at its own limit. High is abnormal.
        severity: (n,) float32 in 0…100, 0 when not flagged.
        flags: (n,) int32 of `Flag`.
        forest: (n,) float64 raw score of the forest in (0, 1].
        state: (n,) uint8, places in `STATES`: the last of them that holds.
        model: what judged.
        notes: sentences for people: what could not be learnt, and what looks odd.
    """

    score: np.ndarray
    severity: np.ndarray
    flags: np.ndarray
    forest: np.ndarray
    state: np.ndarray
    model: Model
    notes: tuple[str, ...]

    @property
    def flagged(self) -> np.ndarray:
        """(n,) bool."""
        return (self.flags & Flag.ANOMALY) != 0


@dataclass(frozen=True)
class _Judged:
    """Columns of a backtest while they fill up."""

    score: np.ndarray
    severity: np.ndarray
    flags: np.ndarray
    forest: np.ndarray
    late: np.ndarray

    @classmethod
    def empty(cls, n: int) -> _Judged:
        kinds = (np.float64, np.float32, np.int32, np.float64, np.bool_)
        return cls(*(np.zeros(n, kind) for kind in kinds))


def backtest(
    history: History,
    training: np.ndarray,
    sensors: tuple[Sensor, ...],
    *,
    budget: float,
    trees: int,
    seed: int,
    progress: Progress | None = None,
) -> Backtest:
    """Train on some rows of a history and judge all of them.

    Args:
        history: readings in arrival order, duplicates included.
        training: (n,) bool; see `first_readings` and `readings_before`.
        sensors: the catalogue. What is beyond its `hard` bounds is impossible by rule, and teaches nothing.
        budget: the setting; see `alarm_budget.episodes_per_day`.
        trees: of the Isolation Forest.
        seed: of everything that is drawn.
        progress: called with the number of rows each time some were judged.
    """
    first = first_rows(history)
    original = first == np.arange(len(first))
    rows = np.flatnonzero(training & original & ~_impossible(history, sensors))
    model = fitted(chosen(history, rows), sensors, budget=budget, trees=trees, seed=seed)
    return replayed(history, training, sensors, model, progress)


def replayed(
    history: History, training: np.ndarray, sensors: tuple[Sensor, ...], model: Model, progress: Progress | None = None
) -> Backtest:
    """Judge all rows of a history by a model, from an empty state.

    Args:
        history: readings in arrival order, duplicates included.
        training: (n,) bool, rows to mark as such.
        sensors: the catalogue.
        model: what judges.
        progress: called with the number of rows each time some were judged.
    """
    first = first_rows(history)
    original, impossible = first == np.arange(len(first)), _impossible(history, sensors)
    rows = np.flatnonzero(original & ~impossible)
    judged = _Judged.empty(len(first))
    _condemn(judged, impossible)
    state = ShardState(sensors, model.prior)
    size = max(1, _VALUES // len(sensors))
    for start in range(0, len(rows), size):
        _judge(state, model.detector, history, rows[start : start + size], judged)
        if progress is not None:
            progress(min(size, len(rows) - start))
    if progress is not None:
        progress(len(first) - len(rows))
    states = np.full(len(first), STABLE, np.uint8)
    states[(judged.flags[first] & Flag.WARMING_UP) != 0] = WARMING_UP
    states[training] = TRAINING
    states[judged.late[first]] = LATE
    states[impossible] = IMPOSSIBLE
    states[~original] = DUPLICATE
    return Backtest(
        score=judged.score[first],
        severity=judged.severity[first],
        flags=judged.flags[first],
        forest=judged.forest[first],
        state=states,
        model=model,
        notes=(*model.notes, *_late_note(judged.late)),
    )


def fitted(history: History, sensors: tuple[Sensor, ...], *, budget: float, trees: int, seed: int) -> Model:
    """Fit prior and detector. Where the readings are too few or too poor, what they cannot teach is left out.

    Args:
        history: the training readings, in arrival order, without duplicates.
        sensors: the catalogue.
        budget: the setting; see `alarm_budget.episodes_per_day`.
        trees: of the Isolation Forest.
        seed: of everything that is drawn.
    """
    names = tuple(sensor.name for sensor in sensors)
    notes = [
        f"{name}: no value in the training readings; only rules judge it"
        for place, name in enumerate(names)
        if len(history) and np.isnan(history.values[:, place]).all()
    ]
    try:
        prior = fit_prior(history, sensors, budget)
    except StationwatchError as error:
        notes.append(f"limits could not be learnt, only rules judge: {error}")
        prior = neutral_prior(names)
    try:
        rng = np.random.default_rng(seed)
        forest, spec = fit_detector(history, sensors, prior, trees=trees, budget=budget, rng=rng)
        detector = Detector(spec, PackedForest.from_sklearn(forest, FEATURES))
    except StationwatchError as error:
        notes.append(f"the forest could not be learnt and never fires: {error}")
        detector = _without_forest(prior, budget)
    return Model(prior, detector, tuple(notes))


def sensors_of(columns: Sequence[str], catalogue: Sequence[Sensor] = ()) -> tuple[Sensor, ...]:
    """Return the sensors of columns of any names: those of the catalogue, and others without a plausible range.

    Raises:
        StationwatchError: a name twice, or a column that is no sensor.
    """
    configured = {sensor.name: sensor for sensor in catalogue}
    sensors = []
    for place, column in enumerate(columns, start=1):
        if columns.count(column) > 1:
            raise StationwatchError(f"sensor {column} is named twice")
        if column in ("station_id", "event_time", "seq"):
            raise StationwatchError(f"column {column} says which reading it is; it is no sensor")
        sensors.append(configured.get(column) or Sensor(_usable(column, place, columns), plausible=(-FAR, FAR)))
    return tuple(sensors)


def _usable(column: str, place: int, columns: Sequence[str]) -> str:
    if SENSOR_NAME.fullmatch(column) and column not in RESERVED_NAMES:
        return column
    name = f"column_{place}"
    while name in columns:
        name += "_"
    return name


def first_rows(history: History) -> np.ndarray:
    """Return for each row the first row with its identity (station, event_time, seq), (n,) int64."""
    station = history.codes()
    # Sorting is stable: of equal identities the first row comes first.
    order = np.lexsort((history.seq, history.event_ms, station))
    keys = [key[order] for key in (station, history.event_ms, history.seq)]
    begins = np.ones(len(order), bool)
    begins[1:] = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    first = np.empty(len(order), np.int64)
    first[order] = order[begins][np.cumsum(begins) - 1]
    return first


def first_readings(history: History, number: int) -> np.ndarray:
    """Return which rows are among the first `number` readings of their station, duplicates not counted, (n,) bool."""
    first = first_rows(history)
    rows = np.flatnonzero(first == np.arange(len(first)))
    chosen_rows = np.zeros(len(first), bool)
    for places in chosen(history, rows).by_station():
        chosen_rows[rows[places[:number]]] = True
    return chosen_rows[first]


def readings_before(history: History, moment_ms: int) -> np.ndarray:
    """Return which rows happened before a moment, and arrived before any later one of their station, (n,) bool."""
    early = history.event_ms < moment_ms
    for places in history.by_station():
        early[places] = np.logical_and.accumulate(early[places])
    return early


def chosen(history: History, rows: np.ndarray) -> History:
    """Return some rows of a history, in the order given."""
    names = [history.station_ids[row] for row in rows.tolist()]
    return History(names, *(part[rows] for part in (history.event_ms, history.record_ms, history.seq, history.values)))


def _judge(state: ShardState, detector: Detector, history: History, rows: np.ndarray, judged: _Judged) -> None:
    part = chosen(history, rows)
    step = state.take(part)
    verdicts = detector.judge(step.blocks)
    judged.score[rows], judged.severity[rows] = verdicts.score, verdicts.severity
    judged.flags[rows], judged.forest[rows] = verdicts.flags, verdicts.forest
    judged.late[rows] = step.late


def _impossible(history: History, sensors: tuple[Sensor, ...]) -> np.ndarray:
    """Whether a value is one that its sensor cannot have, (n,) bool; in the stream such a record is a dead letter."""
    low, high = (np.clip([sensor.hard[end] for sensor in sensors], -FAR, FAR) for end in (0, 1))
    return np.asarray(((history.values < low) | (history.values > high)).any(axis=1))


def _condemn(judged: _Judged, impossible: np.ndarray) -> None:
    """Flag what the state never sees."""
    ratio = np.full(int(impossible.sum()), IMPLAUSIBLE.ratio)
    judged.score[impossible] = score_of(ratio)
    judged.severity[impossible] = severity_of(ratio, ratio > 1.0)
    judged.flags[impossible] = Flag.ANOMALY | IMPLAUSIBLE.bit


def _late_note(late: np.ndarray) -> list[str]:
    share = float(late.mean())
    if share <= _MANY_LATE:
        return []
    return [
        f"{share:.0%} of the rows are late, that is, older than what their station sent before, and teach nothing: "
        "rows are taken in the order of the file; sort them by event_time unless they arrived so"
    ]


def _without_forest(prior: Prior, budget: float) -> Detector:
    """Return a detector that leaves every verdict to witnesses and rules."""
    from sklearn.ensemble import IsolationForest

    names = FEATURES
    # It has seen one point only, and finds every other just as normal.
    forest = IsolationForest(n_estimators=1, random_state=0).fit(np.zeros((2, len(names))))
    ones = (1.0,) * len(prior.sensors)
    spec = Spec(sensors=prior.sensors, centre=ones, reach=ones, forest_typical=0.5, forest_threshold=0.8, budget=budget)
    return Detector(spec, PackedForest.from_sklearn(forest, names))
