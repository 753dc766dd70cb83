"""What a retraining learns from: what the stream has stored, less what must not be learnt, with counts and reasons.

Fitting reads the bounded sample of the plant's readings; thresholds and gates read contiguous series of whole stations.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from core.errors import StationwatchError
from core.sensors import Sensor
from core.verdict import Flag
from models.scoring.feature_block import IMPLAUSIBLE
from models.scoring.feature_samples import Samples
from models.scoring.history import History
from models.training.fit import teaches
from models.training.sample_window import read_window
from storage.driver.session import Store
from storage.tables.feedback import FeedbackRow, feedback_between
from storage.tables.model_events import Maintenance, maintenance
from storage.tables.readings import ReadingRow, readings_of
from storage.tables.stations import heard

# No station holds more of the training set than this, or than three even shares where stations are few.
MOST_SHARE, EVEN_SHARES = 0.1, 3.0
LEAST_SAMPLES = 1000
# Series for thresholds and gates: enough station time to see some false alarms, few enough to be read in seconds.
SERIES_STATIONS, SERIES_READINGS = 12, 10_000
LEAST_SERIES = 600  # readings of one station
CANDIDATES = 200


class NothingToLearn(StationwatchError):
    """A retraining cannot be done with what is stored; the sentence says what is missing."""


@dataclass(frozen=True)
class TrainingSet:
    """What is learnt from, and what is left out.

    Args:
        samples: single readings for the forest, without what is excluded.
        series: contiguous readings of whole stations, for thresholds and gates.
        confirmed: (n,) bool of the series, readings that people called anomalies.
        excluded: reason → samples left out for it; a sample counts for the first reason that holds.
        read: samples read.
        start_ms, end_ms: the window, half-open, ms since the epoch.
        most_share: share of the training set that the largest station holds.
    """

    samples: Samples
    series: History
    confirmed: np.ndarray
    excluded: dict[str, int]
    read: int
    start_ms: int
    end_ms: int
    most_share: float


def read_training_set(store: Store, name: str, sensors: tuple[Sensor, ...], start_ms: int, end_ms: int) -> TrainingSet:
    """Read what a retraining learns from.

    Args:
        store: where.
        name: the registered model, whose maintenance list holds.
        sensors: the catalogue.
        start_ms: of the window, ms since the epoch.
        end_ms: of the window, ms since the epoch.

    Raises:
        NothingToLearn: too few samples or series.
        StoreUnavailable: Cassandra is away.
    """
    window = read_window(store, tuple(sensor.name for sensor in sensors), start_ms, end_ms)
    said = feedback_between(store, start_ms, end_ms)
    left_out = maintenance(store, name)
    kept, excluded = usable(window.samples, said, left_out)
    if window.unreadable:
        excluded["another_release"] = window.unreadable
    read = len(window.samples) + window.unreadable
    if len(kept) < LEAST_SAMPLES:
        why = ", ".join(f"{count} {reason}" for reason, count in excluded.items()) or "none left out"
        raise NothingToLearn(
            f"the window holds {read} feature samples and {len(kept)} of them can teach ({why}); at least "
            f"{LEAST_SAMPLES} are needed: wait, or raise FEATURE_SAMPLES_PER_MINUTE"
        )
    series = read_series(store, sensors, start_ms, end_ms, left_out)
    wrong = {(row.station_id, row.event_ms) for row in said if row.verdict == "true_positive"}
    keys = zip(series.station_ids, series.event_ms.tolist(), strict=True)
    confirmed = np.array([key in wrong for key in keys], bool)
    return TrainingSet(kept, series, confirmed, excluded, read, start_ms, end_ms, _largest_share(kept.station_ids))


def usable(
    samples: Samples, said: Iterable[FeedbackRow], left_out: Iterable[Maintenance]
) -> tuple[Samples, dict[str, int]]:
    """Leave out what must not be learnt. Pure.

    A reading that people called a false positive is normal, whatever was flagged; one they called an anomaly, or
    expected, is never learnt.

    Returns:
        The rest, and reason → number left out.
    """
    names, times = np.array(samples.station_ids, dtype=object), samples.event_ms
    verdicts = {(row.station_id, row.event_ms): row.verdict for row in said}
    marked = np.array([verdicts.get(key, "") for key in zip(names, times.tolist(), strict=True)], dtype=object)
    under = np.zeros(len(samples), bool)
    for entry in left_out:
        under |= (names == entry.station_id) & (times >= entry.start_ms) & (times < entry.end_ms)
    cleared = marked == "false_positive"
    reasons = {
        "marked_by_people": (marked == "true_positive") | (marked == "expected"),
        "maintenance": under,
        "out_of_range": (samples.blocks.per_sensor("quality") == IMPLAUSIBLE).any(axis=1),
        "anomalous": ((samples.flags & Flag.ANOMALY) != 0) & ~cleared,
        "late_or_unsettled_or_unusual": ~teaches(samples) & ~cleared,
    }
    keep, excluded = np.ones(len(samples), bool), {}
    for reason, found in reasons.items():
        excluded[reason] = int((keep & found).sum())
        keep &= ~found
    rows = np.flatnonzero(keep)
    within = within_share(names[rows].tolist())
    excluded["station_share"] = int((~within).sum())
    return samples.take(rows[within]), {reason: count for reason, count in excluded.items() if count}


def within_share(station_ids: list[str]) -> np.ndarray:
    """Return which rows to keep so that no station holds more than its share, (n,) bool; evenly over its rows."""
    if not station_ids:
        return np.ones(0, bool)
    _, codes, counts = np.unique(np.array(station_ids), return_inverse=True, return_counts=True)
    share = max(MOST_SHARE, min(1.0, EVEN_SHARES / len(counts)))
    cap = int(counts.max())
    while cap > 1 and cap > share * np.minimum(counts, cap).sum():
        # The total shrinks with the cap; a step that would overshoot is never taken.
        cap = min(cap - 1, int(share * np.minimum(counts, cap).sum()))
    keep = np.ones(len(codes), bool)
    for station in np.flatnonzero(counts > cap):
        rows = np.flatnonzero(codes == station)
        keep[rows] = False
        keep[rows[np.linspace(0, len(rows) - 1, max(cap, 1)).astype(int)]] = True
    return keep


def read_series(
    store: Store, sensors: tuple[Sensor, ...], start_ms: int, end_ms: int, left_out: Iterable[Maintenance] = ()
) -> History:
    """Read the newest contiguous readings of some whole stations, chosen by a hash of their names.

    Raises:
        NothingToLearn: no station has enough of them, as when `readings_kept` is none.
    """
    away = {entry.station_id for entry in left_out if entry.start_ms < end_ms and entry.end_ms > start_ms}
    names = sorted((row.station_id for row in heard(store)), key=lambda name: (crc32(name.encode()), name))
    found: list[list[ReadingRow]] = []
    for station in [name for name in names if name not in away][:CANDIDATES]:
        rows: list[ReadingRow] = []
        for row in readings_of(store, station, start_ms, end_ms, newest_first=True):
            rows.append(row)
            if len(rows) == SERIES_READINGS:
                break
        if len(rows) >= LEAST_SERIES:
            found.append(rows)
        if len(found) == SERIES_STATIONS:
            break
    if not found:
        raise NothingToLearn(
            f"no station has {LEAST_SERIES} readings in the window, which thresholds and gates need: set "
            "READINGS_KEPT to all or to a share of the stations, and wait"
        )
    return as_history([row for rows in found for row in rows], sensors)


def as_history(rows: list[ReadingRow], sensors: tuple[Sensor, ...]) -> History:
    """Put readings into the order in which Kafka held each station's."""
    rows = sorted(rows, key=lambda row: (row.record_ms, row.kafka_partition, row.kafka_offset))
    nan = float("nan")
    values = [[row.sensors.get(sensor.name, nan) for sensor in sensors] for row in rows]
    return History(
        [row.station_id for row in rows],
        np.array([row.event_ms for row in rows], np.int64),
        np.array([row.record_ms for row in rows], np.int64),
        np.array([row.seq for row in rows], np.int64),
        np.array(values, np.float64).reshape(len(rows), len(sensors)),
    )


def _largest_share(station_ids: Iterable[str]) -> float:
    _, counts = np.unique(np.array(list(station_ids), str), return_counts=True)
    return float(counts.max() / counts.sum()) if len(counts) else 0.0
