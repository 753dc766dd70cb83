"""Read labelled faults: CSV or Parquet with station, sensor, kind, start, end, magnitude."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.errors import StationwatchError
from models.evaluation.evaluation import Labels
from models.files.reading_table import read_table

_KINDLESS = "fault"


@dataclass(frozen=True)
class LabelsFile:
    """Faults of stations that have readings.

    Args:
        labels: the faults; station codes are places in the stations that were asked for.
        strangers: how many faults belong to other stations, and were left out.
    """

    labels: Labels
    strangers: int


def read_labels(path: Path, stations: list[str]) -> LabelsFile:
    """Read a file of labels.

    Args:
        path: columns `station` (or `station_id`), `start` and `end` (ISO 8601, half-open; equal ones mark one reading),
            and `kind` and `magnitude` if there are any; others are ignored.
        stations: different ids; the place of an id is its code.

    Raises:
        StationwatchError: it cannot be read, or a cell is malformed: the file, the line, the column and the value.
    """
    table = read_table(path, ["start", "end"], ["station", "station_id", "kind", "magnitude"])
    name = "station" if "station" in table else "station_id"
    if name not in table:
        raise StationwatchError(f"{path}: column station is missing")
    start, end = table.event_times("start"), table.event_times("end")
    if (end < start).any():
        raise table.fail(int(np.argmax(end < start)), "end", "a time at or after start")
    kinds = table.texts("kind").to_pylist() if "kind" in table else [_KINDLESS] * len(table)
    magnitude = table.numbers("magnitude") if "magnitude" in table else np.full(len(table), np.nan)
    places = {station: place for place, station in enumerate(stations)}
    code = np.array([places.get(station, -1) for station in table.texts(name).to_pylist()], np.int64)
    known = np.flatnonzero(code >= 0)
    labels = Labels(
        station=code[known],
        kind=[kinds[row] for row in known.tolist()],
        magnitude=magnitude[known],
        start_ms=start[known],
        end_ms=np.maximum(end, start + 1)[known],
    )
    return LabelsFile(labels, len(code) - len(known))
