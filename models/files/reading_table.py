"""Columns of a file of readings, CSV (also gzipped) or Parquet, as they stand in it; and where each cell stands.

The good path is vectorised and knows no lines. Only when a cell or a line is malformed is the file read again, slowly,
to name it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.errors import StationwatchError
from models.files.csv_file import csv_columns, csv_header, first_line, line_of, short

TIME = "a time such as 2026-11-21T10:15:04.250Z"
NUMBER = "a finite number"
WHOLE = "a whole number"
# What programs write for a value that they do not have, in lower case.
_MISSING = ("", "nan", "-nan", "null", "none", "na", "n/a", "#n/a", "<na>")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_PER_MILLISECOND = {"us": 1_000, "ns": 1_000_000}
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True)
class ReadingTable:
    """Columns of a file.

    Args:
        path: the file.
        columns: name → column, as text where the file is CSV.
        is_csv: whether cells stand in lines rather than in rows.
    """

    path: Path
    columns: dict[str, pa.Array]
    is_csv: bool

    def __len__(self) -> int:
        """Readings."""
        return len(next(iter(self.columns.values()), ()))

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def fail(self, row: int, column: str, expected: str) -> StationwatchError:
        """Return the error of a malformed cell: the file, the line, the column and the value."""
        value = self.columns[column][row].as_py()
        where = (line_of(self.path, row) if self.is_csv else None) or f"row {row + 1}"
        return StationwatchError(f"{self.path}: {where}, column {column}: {short(value)} is not {expected}")

    def texts(self, name: str) -> pa.DictionaryArray:
        """Return a column as text, none of it empty.

        Raises:
            StationwatchError: an empty cell, or values that are no text.
        """
        column = self.columns[name]
        try:
            column = column if pa.types.is_string(column.type) else column.cast(pa.string())
        except pa.ArrowException as error:
            raise self.fail(0, name, "a text") from error
        empty = pc.fill_null(pc.equal(column, ""), True).to_numpy(zero_copy_only=False)
        if empty.any():
            raise self.fail(int(np.argmax(empty)), name, "a text of at least one character")
        return column.dictionary_encode()

    def event_times(self, name: str) -> np.ndarray:
        """Return a column of times as milliseconds since the epoch, (n,) int64; what is finer is cut off.

        Raises:
            StationwatchError: a cell is no ISO 8601 time. A number is none: it does not say what it counts.
        """
        column = self.columns[name]
        if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
            return self._of_timestamps(name)
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            raise self.fail(0, name, TIME)
        return self._each(name, milliseconds, TIME).astype(np.int64)

    def numbers(self, name: str) -> np.ndarray:
        """Return a column of finite numbers, NaN where missing, (n,) float64.

        Raises:
            StationwatchError: a cell is neither a number nor missing, or infinite.
        """
        column = self.columns[name]
        try:
            values = _cast(column)
        except pa.ArrowException:
            if not pa.types.is_string(column.type):
                raise self.fail(0, name, NUMBER) from None
            # Written otherwise, such as with a plus, or malformed: one by one.
            values = self._each(name, _number, NUMBER)
        infinite = np.isinf(values)
        if infinite.any():
            raise self.fail(int(np.argmax(infinite)), name, NUMBER)
        # Adding 0.0 turns -0.0 into 0.0, as the stream does.
        return values + 0.0

    def whole_numbers(self, name: str) -> np.ndarray:
        """Return a column of whole numbers, none missing, (n,) int64.

        Raises:
            StationwatchError: a cell is none.
        """
        column = self.columns[name]
        try:
            whole = column.cast(pa.int64())
            if not whole.null_count:
                return whole.to_numpy()
        except pa.ArrowException:
            pass
        return self._each(name, _whole, WHOLE).astype(np.int64)

    def _of_timestamps(self, name: str) -> np.ndarray:
        column = self.columns[name]
        if column.null_count:
            raise self.fail(int(np.argmax(column.is_null().to_numpy(zero_copy_only=False))), name, TIME)
        if pa.types.is_date(column.type) or column.type.unit == "s":
            column = column.cast(pa.timestamp("ms"))
        return column.cast(pa.int64()).to_numpy() // _PER_MILLISECOND.get(column.type.unit, 1)

    def _each(self, name: str, parse: Callable[[Any], float | int | None], expected: str) -> np.ndarray:
        """Parse each different cell once; None says that it is malformed. (n,) float64 or int64."""
        encoded = self.columns[name].dictionary_encode()
        parsed = [parse(cell) for cell in encoded.dictionary.to_pylist()]
        parsed.append(parse(None))
        codes = encoded.indices.fill_null(len(parsed) - 1).to_numpy()
        bad = np.array([value is None for value in parsed])[codes]
        if bad.any():
            raise self.fail(int(np.argmax(bad)), name, expected)
        return np.array([0 if value is None else value for value in parsed])[codes]


def milliseconds(text: str | None) -> int | None:
    """Return an ISO 8601 time as milliseconds since the epoch, cut off; None when it is none. No offset is UTC."""
    text = (text or "").strip().upper()
    # Python reads a count of milliseconds as a date of long ago with a digit between date and time.
    if text.isdigit() and len(text) != 8:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _MILLISECOND


def read_table(path: Path, needed: list[str], optional: list[str]) -> ReadingTable:
    """Read columns of a file; others are ignored.

    Raises:
        StationwatchError: it is absent or unreadable, lacks a needed column, or a line has too many or too few fields.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(4)
        if magic == b"PAR1":
            return _read_parquet(path, needed, optional)
        return _read_csv(path, needed, optional)
    except OSError as error:
        raise StationwatchError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (EOFError, zlib.error) as error:
        raise StationwatchError(f"{path}: cannot be read: it is no whole gzip file: {error}") from error


def _read_parquet(path: Path, needed: list[str], optional: list[str]) -> ReadingTable:
    try:
        names = pq.read_schema(path).names
        chosen = list(_places(path, names, needed, optional))
        table = pq.read_table(path, columns=chosen)
    except pa.ArrowException as error:
        raise StationwatchError(f"{path}: cannot be read: {first_line(error)}") from error
    columns = {name: _plain(table[name]) for name in chosen}
    return ReadingTable(path, columns, is_csv=False)


def _read_csv(path: Path, needed: list[str], optional: list[str]) -> ReadingTable:
    header = csv_header(path)
    places = _places(path, header[0], needed, optional)
    columns = csv_columns(path, header, list(places.values()))
    return ReadingTable(path, dict(zip(places, map(_plain, columns), strict=True)), is_csv=True)


def _places(path: Path, names: list[str], needed: list[str], optional: list[str]) -> dict[str, int]:
    absent = [name for name in needed if name not in names]
    if absent:
        found = short(", ".join(names), 400).strip("'")
        hint = "; fields are separated by commas" if len(names) == 1 else ""
        raise StationwatchError(f"{path}: column {', '.join(absent)} is missing; found: {found}{hint}")
    chosen = [*needed, *(name for name in optional if name in names)]
    doubled = [name for name in chosen if names.count(name) > 1]
    if doubled:
        raise StationwatchError(f"{path}: column {doubled[0]} stands {names.count(doubled[0])} times in the header")
    return {name: names.index(name) for name in chosen}


def _plain(column: pa.ChunkedArray) -> pa.Array:
    """Return one array, no dictionary."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    combined = column.combine_chunks()
    return combined if isinstance(combined, pa.Array) else pa.concat_arrays(combined.chunks)


def _cast(column: pa.Array) -> np.ndarray:
    if pa.types.is_string(column.type):
        trimmed = pc.utf8_trim_whitespace(column)
        missing = pc.is_in(pc.utf8_lower(trimmed), value_set=pa.array(_MISSING))
        column = pc.if_else(missing, None, trimmed)
    elif pa.types.is_temporal(column.type):
        raise pa.ArrowTypeError("a time is no number")
    numbers = column.cast(pa.float64(), safe=False)
    return pc.fill_null(numbers, np.nan).to_numpy()


def _number(text: str | None) -> float | None:
    if text is None or text.strip().lower() in _MISSING:
        return np.nan
    try:
        # Python's own licence, which no other program has.
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _whole(cell: object) -> int | None:
    number = _number(cell) if isinstance(cell, str) else cell
    try:
        whole = int(cell)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):
        whole = int(number) if isinstance(number, float) and number.is_integer() else None
    exact = whole is not None and whole in _INT64 and whole == number
    return whole if exact else None
