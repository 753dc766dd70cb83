"""Write what a backtest said, one row per row of the history, as CSV or Parquet."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import StationwatchError
from models.evaluation.backtest import STATES, Backtest
from models.evaluation.recorded_history import Recorded
from models.scoring.rules import rules_of

SUFFIXES = (".csv", ".parquet")
_CHUNK = 65_536


def check_out(option: str, out: Path, suffixes: tuple[str, ...], readings: Path) -> None:
    """Refuse a place where nothing can be written, before the work begins.

    Raises:
        StationwatchError: another suffix, no such folder, a folder, or the history itself.
    """
    if out.suffix not in suffixes:
        raise StationwatchError(f"{option} {out}: expected a name ending in {' or '.join(suffixes)}")
    if not out.parent.is_dir():
        raise StationwatchError(f"{option} {out}: the folder {out.parent} does not exist")
    if out.is_dir() or (out.exists() and readings.exists() and out.samefile(readings)):
        raise StationwatchError(f"{option} {out}: is {'a folder' if out.is_dir() else 'the history itself'}")


def write_verdicts(out: Path, recorded: Recorded, result: Backtest) -> None:
    """Write `station_id, event_time, score, is_anomaly, severity, rules, state, forest`.

    Args:
        out: .csv or .parquet. It appears whole or not at all.
        recorded: the history; station and time are written as they stand in it.
        result: what was said of it.
    """
    table = _table(recorded, result)
    unfinished = out.with_name(f".{out.name}.part")
    try:
        if out.suffix == ".parquet":
            pq.write_table(table, unfinished)
        else:
            _write_csv(table, unfinished)
        unfinished.replace(out)
    finally:
        unfinished.unlink(missing_ok=True)


def _table(recorded: Recorded, result: Backtest) -> pa.Table:
    flags, places = np.unique(result.flags, return_inverse=True)
    rules = pa.array([";".join(rules_of(value)) for value in flags.tolist()], pa.string())
    return pa.table(
        {
            "station_id": pa.array(recorded.history.station_ids, pa.string()).dictionary_encode(),
            "event_time": recorded.event_times,
            "score": result.score,
            "is_anomaly": result.flagged,
            # More digits say nothing.
            "severity": np.round(result.severity.astype(np.float64), 2),
            "rules": pa.DictionaryArray.from_arrays(places, rules),
            "state": pa.DictionaryArray.from_arrays(result.state, pa.array(STATES)),
            "forest": np.round(result.forest, 6),
        }
    )


def _write_csv(table: pa.Table, path: Path) -> None:
    # Arrow's writer quotes every text; spreadsheets and `cut` are happier without.
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table.column_names)
        for start in range(0, len(table), _CHUNK):
            part = table.slice(start, _CHUNK)
            writer.writerows(zip(*(_cells(part[name]) for name in table.column_names), strict=True))


def _cells(column: pa.ChunkedArray) -> Iterable[object]:
    array = column.combine_chunks()
    if pa.types.is_boolean(array.type):
        return ["true" if cell else "false" for cell in array.to_numpy(zero_copy_only=False).tolist()]
    if pa.types.is_dictionary(array.type):
        words = array.dictionary.to_pylist()
        return [words[place] for place in array.indices.to_numpy().tolist()]
    if pa.types.is_floating(array.type):
        return array.to_numpy().tolist()
    return array.to_pylist()
