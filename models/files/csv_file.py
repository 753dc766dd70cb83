"""CSV files: fast while they are well-formed, and line by line to say where they are not."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NoReturn, TextIO

import pyarrow as pa
import pyarrow.csv as pacsv

from core.errors import StationwatchError

# A row that is longer than a block is refused.
_BLOCK_BYTES = 8 << 20


def csv_header(path: Path) -> tuple[list[str], int]:
    """Return the names of the columns, and the lines they take up."""
    try:
        with _text(path) as file:
            rows = csv.reader(file)
            names = next((row for row in rows if row), None)
    except csv.Error as error:
        raise StationwatchError(f"{path}: cannot be read: line 1 is no CSV header: {error}") from error
    if names is None:
        raise StationwatchError(f"{path}: cannot be read: it is empty; a header with station_id,event_time is expected")
    if any("\0" in name for name in names):
        raise StationwatchError(f"{path}: cannot be read: line 1 is no CSV header in UTF-8: {short(','.join(names))}")
    return [name.strip() for name in names], rows.line_num


def csv_columns(path: Path, header: tuple[list[str], int], places: list[int]) -> list[pa.ChunkedArray]:
    """Read columns by their places, as text.

    Args:
        path: the file.
        header: of `csv_header`.
        places: of the columns; names may be doubled among the others.

    Raises:
        StationwatchError: a line has too many or too few fields, or is not UTF-8; the sentence names it.
    """
    names, lines = header
    wanted = [str(place) for place in places]
    try:
        with _opened(path) as file:
            table = pacsv.read_csv(
                file,
                pacsv.ReadOptions(
                    column_names=[str(place) for place in range(len(names))], skip_rows=lines, block_size=_BLOCK_BYTES
                ),
                pacsv.ParseOptions(newlines_in_values=True),
                pacsv.ConvertOptions(
                    column_types=dict.fromkeys(wanted, pa.string()), include_columns=wanted, strings_can_be_null=False
                ),
            )
    except pa.ArrowException as error:
        if _has_rows(path):
            _explain(path, len(names), error)
        return [pa.chunked_array([], pa.string()) for _ in places]
    return [table[name] for name in wanted]


def line_of(path: Path, row: int) -> str | None:
    """Name the line in which a row behind the header begins, counted from 0; None when it cannot be told."""
    # Python's reader takes no field that is longer than 128 KiB.
    with suppress(csv.Error):
        for number, (line, _) in enumerate(_rows(path)):
            if number == row:
                return f"line {line}"
    return None


def short(value: object, most: int = 80) -> str:
    """Show a value as it stands, at most so many characters of it."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def first_line(error: Exception) -> str:
    """Say what a library says, without its details."""
    return str(error).split("\n", 1)[0]


def _explain(path: Path, fields: int, error: pa.ArrowException) -> NoReturn:
    """Raise the error of a CSV file that Arrow refused, with the line."""
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as problem:
                value = line[problem.start : problem.start + 1]
                raise StationwatchError(
                    f"{path}: cannot be read: line {number}: the byte {value!r} is not UTF-8"
                ) from error
    try:
        for line_number, row in _rows(path):
            if len(row) != fields:
                found = short(",".join(row))
                raise StationwatchError(
                    f"{path}: cannot be read: line {line_number} has {len(row)} fields, the header {fields}: {found}"
                ) from error
    except csv.Error as problem:
        raise StationwatchError(f"{path}: cannot be read: {problem}") from error
    raise StationwatchError(f"{path}: cannot be read: {first_line(error)}") from error


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows behind the header with the line each begins in; slow."""
    with _text(path) as file:
        rows = csv.reader(file)
        begins, header = 1, True
        for row in rows:
            if row and not header:
                yield begins, row
            header = header and not row
            begins = rows.line_num + 1


def _has_rows(path: Path) -> bool:
    try:
        return next(_rows(path), None) is not None
    except csv.Error:
        return True


def _opened(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    # A file object has the mode it was opened with.
    return gzip.open(path, "rb") if zipped else path.open("rb")  # type: ignore[return-value]


def _text(path: Path) -> TextIO:
    # Columns that are not read need not be UTF-8. Lines end as they do for Arrow.
    return io.TextIOWrapper(_opened(path), encoding="utf-8-sig", errors="replace", newline="")
