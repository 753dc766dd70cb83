"""Recorded readings: reads a CSV or Parquet file, or says in one sentence where it is wrong."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from core.errors import SettingsError
from core.sensors import Sensor
from iot_simulator.units import milliseconds, parse_time

_STATION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LARGEST_SEQ = 2**63 - 1


@dataclass(frozen=True)
class Recorded:
    """One recorded reading: event time in ms since the epoch, values by sensor name, None where missing."""

    station_id: str
    event_ms: int
    seq: int
    values: dict[str, float | None]


def read_recorded(path: Path, sensors: tuple[Sensor, ...]) -> list[Recorded]:
    """Read a file of readings, ordered by event time; readings of one time keep the file's order.

    Columns: station_id, event_time (RFC 3339; without offset it is UTC), one per sensor that is not optional (empty =
    missing), and seq; without that, a reading's seq is its row number, from 0. Other columns are ignored.

    Raises:
        SettingsError: names the file, line, column and value at fault.
    """
    try:
        rows = _parquet_rows(path) if path.suffix == ".parquet" else _csv_rows(path)
        header = next(rows)[1]
        _check_columns(path, list(header), sensors)
        readings = [_reading(path, line, number, row, sensors) for number, (line, row) in enumerate(rows)]
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from error
    if not readings:
        raise SettingsError(f"{path}: has no readings, only a header")
    return sorted(readings, key=lambda reading: reading.event_ms)


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the header, then each row, as (line of the file, values by column)."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        yield 1, dict.fromkeys(header)
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise SettingsError(f"{path}, line {reader.line_num}: {len(row)} fields; the header has {len(header)}")
            yield reader.line_num, dict(zip(header, row, strict=True))


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with pq.ParquetFile(path) as file:
        yield 0, dict.fromkeys(file.schema_arrow.names)
        line = 0
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                line += 1
                yield line, row


def _check_columns(path: Path, header: list[str], sensors: tuple[Sensor, ...]) -> None:
    wanted = ["station_id", "event_time", *(sensor.name for sensor in sensors if not sensor.optional)]
    for name in wanted:
        if name not in header:
            found, expected = ",".join(header), ",".join(wanted)
            raise SettingsError(f"{path}, line 1: column {name!r} is missing: found {found!r}, expected {expected!r}")


def _reading(path: Path, line: int, number: int, row: dict[str, Any], sensors: tuple[Sensor, ...]) -> Recorded:
    where = f"{path}, line {line}"
    station = row["station_id"]
    if not isinstance(station, str) or not _STATION_ID.fullmatch(station):
        raise SettingsError(f"{where}, column station_id: {station!r}: expected 1 to 64 letters, digits, _ or -")
    names = [sensor.name for sensor in sensors if sensor.name in row]
    values = {name: _number(where, name, row[name]) for name in names}
    return Recorded(station, _event_ms(where, row["event_time"]), _seq(where, row.get("seq"), number), values)


def _event_ms(where: str, value: Any) -> int:
    try:
        time = value if isinstance(value, datetime) else parse_time(str(value))
        return milliseconds(time if time.tzinfo else parse_time(time.isoformat()))
    except SettingsError as error:
        raise SettingsError(f"{where}, column event_time: {error}") from error


def _number(where: str, column: str, value: Any) -> float | None:
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise SettingsError(
            f"{where}, column {column}: {value!r}: expected a finite number, or nothing if it is missing"
        )
    return number


def _seq(where: str, value: Any, number: int) -> int:
    if value is None or value == "":
        return number
    try:
        seq = int(value)
    except (TypeError, ValueError):
        seq = -1
    if not 0 <= seq <= _LARGEST_SEQ:
        raise SettingsError(f"{where}, column seq: {value!r}: expected a whole number from 0 on")
    return seq
