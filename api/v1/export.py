"""Whole ranges as CSV or NDJSON, row by row: memory does not grow with the range.

A store that goes away in the middle breaks the connection: a file that looks whole is whole.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Literal

import msgspec
from flask import Response, request, stream_with_context

from api.http.bulkhead import Bulkhead
from api.http.problems import refuse_parameter

Format = Literal["json", "ndjson", "csv", "elastic", "lookout"]

CSV, NDJSON = "text/csv", "application/x-ndjson"
EXPORTS = 4
"""Each holds a connection to Cassandra's rows and a thread for as long as its client reads."""

ABOUT_LINES = (
    "ndjson and csv are the whole range as it is read, without pages, also by Accept: application/x-ndjson or text/csv"
)
ABOUT_FORMATS = (
    ABOUT_LINES
    + "; elastic and lookout are pages in the shape of Elastic's get records API and of AWS Lookout for Equipment"
)

_MIMETYPES: dict[str, Format] = {"application/json": "json", NDJSON: "ndjson", CSV: "csv"}
_CHUNK_BYTES = 32 * 1024

Documents = Iterable[msgspec.Struct]


def choose_format(given: str | None) -> Format:
    """What `format` names; else what the Accept header likes best, JSON where it does not say."""
    if given is not None:
        return given  # type: ignore[return-value]
    best = request.accept_mimetypes.best_match(list(_MIMETYPES), default="application/json")
    return _MIMETYPES[str(best)]


def refuse_token(query: dict[str, Any]) -> None:
    """Refuse a page token for what has no pages.

    Raises:
        HTTPError: 422.
    """
    if "page_token" in query:
        raise refuse_parameter("page_token", "conflict", "page_token is given, but this format has no pages")


def stream_lines(
    documents: Documents, asked: Format, header: Sequence[str], row: Callable[[Any], Sequence[Any]], places: Bulkhead
) -> Response:
    """Stream documents as lines.

    The first chunk is made before the response begins, so that a store that is away is still a 503.

    Args:
        documents: made as they are sent.
        asked: ndjson or csv.
        header: names of the CSV columns.
        row: a document as values of these columns.
        places: how many exports may run at once.

    Raises:
        HTTPError: 503; enough exports are under way.
    """
    lines = _csv(header, map(row, documents)) if asked == "csv" else _ndjson(documents)
    chunks = _held(_chunks(lines), places)
    first = next(chunks, b"")
    mimetype = CSV if asked == "csv" else NDJSON
    response = Response(stream_with_context(chain([first], chunks)), mimetype=mimetype)
    response.headers["Content-Disposition"] = f'attachment; filename="stationwatch.{asked}"'
    response.call_on_close(chunks.close)
    return response


def _held(chunks: Iterator[bytes], places: Bulkhead) -> Generator[bytes, None, None]:
    with places.place():
        yield from chunks


def _chunks(lines: Iterator[bytes]) -> Iterator[bytes]:
    held, size = [], 0
    for line in lines:
        held.append(line)
        size += len(line)
        if size >= _CHUNK_BYTES:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)


def _ndjson(documents: Documents) -> Iterator[bytes]:
    for document in documents:
        yield msgspec.json.encode(document) + b"\n"


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    for row in chain([header], rows):
        writer.writerow(["" if value is None else value for value in row])
        yield buffer.getvalue().encode()
        buffer.seek(0)
        buffer.truncate()
