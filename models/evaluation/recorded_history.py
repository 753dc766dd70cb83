"""Read a history file: readings of stations as CSV or Parquet.

Columns: `station_id`, `event_time` (ISO 8601; without an offset it is UTC), `seq` if there is one, and each sensor.
Missing values are empty. Other columns are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from core.errors import StationwatchError
from core.reading import STATION_ID
from core.sensors import Sensor
from models.evaluation.backtest import chosen
from models.files.reading_table import ReadingTable, read_table
from models.scoring.history import History


@dataclass(frozen=True)
class Recorded:
    """A history as a file has it, in the order of its rows.

    Args:
        history: its readings; they arrive when they happen.
        event_times: (n,) text, as in the file; RFC 3339 where the file holds no text.
    """

    history: History
    event_times: pa.Array


def read_recorded(path: Path, columns: tuple[str, ...]) -> Recorded:
    """Read all of a file, in its order. Station ids may be any text.

    Args:
        path: the file.
        columns: of the sensors, in the order of the history's values.

    Raises:
        StationwatchError: it cannot be read, or a cell is malformed: the file, the line, the column and the value.
    """
    table = read_table(path, ["station_id", "event_time", *columns], ["seq"])
    return Recorded(_history(table, columns), _as_text(table))


def read_history(path: Path, sensors: tuple[Sensor, ...]) -> tuple[History, int]:
    """Read all of a file for training, by event time.

    Returns:
        The readings, and how many were left out because a value is physically impossible (beyond `hard`), as the stream
        leaves them out.

    Raises:
        StationwatchError: as `read_recorded`, or a station id that the stream would refuse.
    """
    needed = [sensor.name for sensor in sensors if not sensor.optional]
    optional = [sensor.name for sensor in sensors if sensor.optional]
    table = read_table(path, ["station_id", "event_time", *needed], ["seq", *optional])
    history = _history(table, tuple(sensor.name for sensor in sensors))
    good = {name for name in set(history.station_ids) if STATION_ID.fullmatch(name)}
    bad = next((row for row, name in enumerate(history.station_ids) if name not in good), None)
    if bad is not None:
        raise table.fail(bad, "station_id", f"a station id ({STATION_ID.pattern})")
    low, high = (np.array([sensor.hard[end] for sensor in sensors]) for end in (0, 1))
    possible = ~((history.values < low) | (history.values > high)).any(axis=1)
    rows = np.flatnonzero(possible)
    rows = rows[np.argsort(history.event_ms[rows], kind="stable")]
    return chosen(history, rows), int((~possible).sum())


def _history(table: ReadingTable, columns: tuple[str, ...]) -> History:
    if not len(table):
        raise StationwatchError(f"{table.path}: holds no readings")
    stations = table.texts("station_id")
    names = stations.dictionary.to_pylist()
    event_ms = table.event_times("event_time")
    seq = table.whole_numbers("seq") if "seq" in table else np.zeros(len(table), np.int64)
    values = np.full((len(table), len(columns)), np.nan)
    for place, name in enumerate(columns):
        if name in table:
            values[:, place] = table.numbers(name)
    return History([names[code] for code in stations.indices.to_pylist()], event_ms, event_ms, seq, values)


def _as_text(table: ReadingTable) -> pa.Array:
    column = table.columns["event_time"]
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return column
    moments = table.event_times("event_time").astype("datetime64[ms]")
    return pa.array(np.char.add(np.datetime_as_string(moments), "Z"))
