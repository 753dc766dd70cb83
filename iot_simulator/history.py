"""Labelled history: files of what the stations would have sent."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from tqdm import tqdm

from core.errors import SettingsError
from iot_simulator.counter_rng import Floats
from iot_simulator.fault_plan import FaultPlan
from iot_simulator.fault_schedule import station_id
from iot_simulator.process import StationProcess
from iot_simulator.units import milliseconds, rfc3339
from models.evaluation.fault_models import Fault

LABEL_COLUMNS = ("station_id", "sensor", "kind", "start", "end", "magnitude")
# Values made at once, so that any history fits into memory.
_MOST_VALUES = 2_000_000
_HOUR = 3600.0

Stretch = tuple[int, int]


def stretches(first_tick: int, ticks: int, count: int, rows: int) -> list[Stretch]:
    """Return (first tick, ticks) of `count` contiguous stretches of `rows` ticks, spread evenly over the span.

    Raises:
        SettingsError: they do not fit.
    """
    if count < 1 or rows < 1 or count * rows > ticks:
        raise SettingsError(f"--stretches {count} --stretch-rows {rows}: the span has {ticks} rows; take fewer")
    return [(first_tick + number * ticks // count, rows) for number in range(count)]


def with_every_hour(parts: list[Stretch], first_tick: int, ticks: int, rows: int, cadence: float) -> list[Stretch]:
    """Add short stretches, so that each hour of the day (UTC) has `rows` ticks, or as many as the span has room for.

    A short stretch lies in the middle of the longest time of its hour that is free.
    """
    held = Counter[int]()
    for hour, _, length in _by_hours(parts, cadence):
        held[hour] += length
    begins = [first_tick, *(first + length for first, length in parts)]
    ends = [*(first for first, _ in parts), first_tick + ticks]
    free = _by_hours([(begin, end - begin) for begin, end in zip(begins, ends, strict=True)], cadence)
    more = []
    for hour, begin, length in sorted(free, key=lambda piece: -piece[2]):
        if (wanted := min(rows - held[hour], length)) > 0:
            more.append((begin + (length - wanted) // 2, wanted))
            held[hour] += wanted
    return sorted(parts + more)


def _by_hours(parts: list[Stretch], cadence: float) -> Iterator[tuple[int, int, int]]:
    """Cut stretches at full hours: hour of the day, first tick, ticks."""
    for first, ticks in parts:
        begin, end = first, first + ticks
        while begin < end:
            hour = math.floor(begin * cadence / _HOUR)
            cut = min(max(math.ceil((hour + 1) * _HOUR / cadence), begin + 1), end)
            yield hour % 24, begin, cut - begin
            begin = cut


def write_history(
    process: StationProcess, plan: FaultPlan, parts: list[Stretch], out: Path, labels: Path | None
) -> tuple[int, int]:
    """Write readings to `out` (.parquet or .csv), ordered by time, and the labels of their faults to `labels` (.csv).

    Args:
        process: the healthy stations.
        plan: their faults.
        parts: stretches in order of time.
        out: columns station_id, event_time (RFC 3339, Z, ms), seq, then one per sensor; missing values are empty.
        labels: columns station_id, sensor, kind, start, end, magnitude.

    Returns:
        Rows and labels written.

    Raises:
        SettingsError: another suffix.
    """
    if out.suffix not in (".parquet", ".csv"):
        raise SettingsError(f"--out {out}: expected a name ending in .parquet or .csv")
    rows, faults = 0, []
    unfinished = out.with_name(f".{out.name}.part")
    schema = _schema(process)
    with _writer(unfinished, out.suffix, schema) as writer:
        for first, ticks in tqdm(list(_chunks(parts, process)), desc=out.name, unit="block", disable=None):
            values = process.block(first, ticks)
            faults += plan.apply(values, first)
            writer.write_table(_table(process, first, values, schema))
            rows += values.shape[0] * values.shape[1]
    unfinished.replace(out)
    if labels is not None:
        write_labels(labels, faults)
    return rows, len(faults)


def write_labels(path: Path, faults: list[Fault]) -> None:
    """Write labels as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(LABEL_COLUMNS)
        for fault in faults:
            times = rfc3339(np.array([milliseconds(fault.start), milliseconds(fault.end)])).tolist()
            writer.writerow([fault.station_id, fault.sensor, fault.kind, *times, fault.magnitude])


def _chunks(parts: list[Stretch], process: StationProcess) -> Iterator[Stretch]:
    size = max(1, _MOST_VALUES // (len(process.stations) * len(process.sensors)))
    for first, ticks in parts:
        for start in range(first, first + ticks, size):
            yield start, min(size, first + ticks - start)


def _schema(process: StationProcess) -> pa.Schema:
    sensors = [pa.field(sensor.name, pa.float64()) for sensor in process.sensors]
    return pa.schema([("station_id", pa.string()), ("event_time", pa.string()), ("seq", pa.int64()), *sensors])


def _writer(path: Path, suffix: str, schema: pa.Schema) -> Any:
    if suffix == ".parquet":
        return pq.ParquetWriter(path, schema)
    options = pacsv.WriteOptions(quoting_style="needed", quoting_header="none")
    return pacsv.CSVWriter(path, schema, write_options=options)


def _table(process: StationProcess, first_tick: int, values: Floats, schema: pa.Schema) -> pa.Table:
    """Return (ticks · n_stations) rows in order of time, then station."""
    ticks, stations, _ = values.shape
    tick = np.arange(first_tick, first_tick + ticks)
    event_time = rfc3339(np.round(tick * process.cadence * 1000).astype(np.int64))
    columns = [
        pa.array(np.tile([station_id(int(index)) for index in process.stations], ticks), pa.string()),
        pa.array(np.repeat(event_time, stations), pa.string()),
        pa.array(np.repeat(tick, stations)),
        *(pa.array(values[:, :, column].ravel(), from_pandas=True) for column in range(values.shape[2])),
    ]
    return pa.Table.from_arrays(columns, schema=schema)
