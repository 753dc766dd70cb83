"""Read a history file: readings of stations as CSV or Parquet.

Columns: `station_id`, `event_time` (RFC 3339; without an offset it is UTC), `seq` if there is one, and each sensor of
the catalogue. Missing values are empty. Other columns are ignored. Readings are taken to have arrived by event time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from models.detection.errors import StationwatchError
from models.detection.pooling import History
from models.detection.reading import STATION_ID
from models.detection.sensors import Sensor

_MISSING = frozenset({"", "nan", "null", "none", "na"})
_TIME = "a time such as 2026-11-21T10:15:04.250Z"


@dataclass(frozen=True)
class _Place:
    """Where a cell stands, for people: CSV counts lines from 1 and has a header, Parquet counts rows from 1."""

    path: Path

    def fail(self, row: int, column: str, value: object, expected: str) -> StationwatchError:
        line = f"line {row + 2}" if self.path.suffix == ".csv" else f"row {row + 1}"
        return StationwatchError(f"{self.path}: {line}, column {column}: {value!r} is not {expected}")


def read_history(path: Path, sensors: tuple[Sensor, ...]) -> tuple[History, int]:
    """Read all of a file.

    Returns:
        The readings by event time, and how many were left out because a value is physically impossible (beyond `hard`),
        as the stream leaves them out.

    Raises:
        StationwatchError: it cannot be read, or a cell is malformed: the file, the line, the column and the value.
    """
    frame = _read(path, ["station_id", "event_time", *(sensor.name for sensor in sensors if not sensor.optional)])
    place = _Place(path)
    names = _station_ids(frame["station_id"], place)
    event_ms = _event_times(frame["event_time"], place)
    seq = _numbers(frame["seq"], "seq", place, whole=True) if "seq" in frame else np.zeros(len(frame), np.int64)
    values = np.full((len(frame), len(sensors)), np.nan)
    for number, sensor in enumerate(sensors):
        if sensor.name in frame:
            values[:, number] = _numbers(frame[sensor.name], sensor.name, place)
    low, high = (np.array([sensor.hard[end] for sensor in sensors]) for end in (0, 1))
    possible = ~((values < low) | (values > high)).any(axis=1)
    rows = np.flatnonzero(possible)
    rows = rows[np.argsort(event_ms[rows], kind="stable")]
    times = event_ms[rows]
    return History([names[row] for row in rows], times, times, seq[rows], values[rows]), int((~possible).sum())


def _read(path: Path, needed: list[str]) -> pd.DataFrame:
    if path.suffix not in (".csv", ".parquet"):
        raise StationwatchError(f"{path}: expected a file named .csv or .parquet")
    try:
        if path.suffix == ".csv":
            # As text, so that a malformed cell can be shown as it stands; blank lines kept, so that lines count.
            frame = pd.read_csv(path, dtype=str, keep_default_na=False, skip_blank_lines=False, index_col=False)
            frame = frame.fillna("")
            frame = frame[~(frame == "").all(axis=1)]
        else:
            frame = pq.read_table(path).to_pandas()
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError, pa.ArrowException) as error:
        raise StationwatchError(f"{path}: cannot be read: {error}".rstrip()) from error
    absent = [name for name in needed if name not in frame]
    if absent:
        found = ", ".join(map(str, frame.columns))
        raise StationwatchError(f"{path}: column {', '.join(absent)} is missing; found: {found}")
    if frame.empty:
        raise StationwatchError(f"{path}: holds no readings")
    return frame


def _station_ids(column: pd.Series, place: _Place) -> list[str]:
    good = {name for name in column.unique() if isinstance(name, str) and STATION_ID.fullmatch(name)}
    bad = ~column.isin(good).to_numpy()
    if bad.any():
        row = int(np.argmax(bad))
        raise place.fail(column.index[row], "station_id", column.iloc[row], f"a station id ({STATION_ID.pattern})")
    return list(column)


def _event_times(column: pd.Series, place: _Place) -> np.ndarray:
    """Milliseconds since the epoch, (n,) int64."""
    if pd.api.types.is_numeric_dtype(column):
        # Seconds, milliseconds or nanoseconds: a number does not say.
        raise place.fail(column.index[0], "event_time", column.iloc[0], _TIME)
    times = pd.to_datetime(column, utc=True, errors="coerce", format=None if column.dtype.kind == "M" else "ISO8601")
    bad = times.isna().to_numpy()
    if bad.any():
        row = int(np.argmax(bad))
        raise place.fail(column.index[row], "event_time", column.iloc[row], _TIME)
    return times.dt.tz_localize(None).to_numpy("datetime64[ms]").astype(np.int64)


def _numbers(column: pd.Series, name: str, place: _Place, *, whole: bool = False) -> np.ndarray:
    """Finite numbers, NaN where missing; (n,) float64, or int64 when `whole`, where none may be missing."""
    numbers = pd.to_numeric(column, errors="coerce")
    if whole:
        bad = (numbers.isna() | (numbers != np.floor(numbers)) | (numbers.abs() >= 2.0**63)).to_numpy()
        expected = "a whole number"
    else:
        missing = column.isna() | column.astype(str).str.strip().str.lower().isin(_MISSING)
        bad = ((numbers.isna() & ~missing) | np.isinf(numbers)).to_numpy()
        expected = "a finite number"
    if bad.any():
        row = int(np.argmax(bad))
        raise place.fail(column.index[row], name, column.iloc[row], expected)
    return numbers.to_numpy(np.int64 if whole else np.float64)
