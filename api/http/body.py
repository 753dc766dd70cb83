"""Request bodies: one JSON object, read strictly, and the promise of its shape for /openapi.json."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, TypeVar

from flask import request
from msgspec import Struct

from api.http.problems import escape_pointer, refuse, refuse_value
from api.representations.common import Schema, schema_of
from core.reading import MAX_DEPTH, nesting

View = TypeVar("View", bound=Callable[..., Any])

_SHOWN_CHARACTERS = 60


class _Doubled(ValueError):
    """A member that is there twice; its name is the argument."""


def declare_body(schema: Schema | type[Struct]) -> Callable[[View], View]:
    """Declare the JSON body of a view; `api.openapi` shows it."""

    def mark(view: View) -> View:
        view.request_body = schema_of(schema)  # type: ignore[attr-defined]
        return view

    return mark


def json_object() -> dict[str, Any]:
    """The request's body.

    Raises:
        HTTPError: 415 another type; 400 no JSON (NaN and Infinity are none), or nested over 32 levels deep; 422 not an
            object, a member given twice, a number beyond a float, or text that is no Unicode.
    """
    if request.mimetype != "application/json":
        headers = {"Accept": "application/json"}
        raise refuse(415, "unsupported-media-type", "Send the body as Content-Type: application/json.", headers)
    data = request.get_data(cache=False)
    if nesting(data) > MAX_DEPTH:
        raise refuse(400, "malformed-json", f"The body is nested over {MAX_DEPTH} levels deep.")
    try:
        document = json.loads(
            data.decode("utf-8"),
            parse_constant=_no_constant,
            parse_int=_integer,
            parse_float=_float,
            object_pairs_hook=_members,
        )
        json.dumps(document, ensure_ascii=False).encode()
    except _Doubled as error:
        raise refuse_body("", "repeated", f"the member {quote(error.args[0])} is given twice; expected once") from None
    except OverflowError:
        raise refuse_body("", "not_finite", "a number of the body does not fit a 64-bit float") from None
    except UnicodeEncodeError:
        raise refuse_body("", "not_unicode", "a text of the body holds half a surrogate pair") from None
    except (ValueError, RecursionError):
        raise refuse(400, "malformed-json", "The body is not JSON in UTF-8.") from None
    if not isinstance(document, dict):
        raise refuse_body("", "wrong_type", f"the body is {quote(document)}; expected an object")
    return document


def refuse_body(pointer: str, code: str, detail: str) -> Exception:
    """422 for a value of the body; `pointer` is a JSON pointer without its leading slash, empty for the whole body."""
    return refuse_value(f"/body/{pointer}" if pointer else "/body", code, detail)


def refuse_strays(document: dict[str, Any], known: list[str], pointer: str = "") -> None:
    """Refuse members that nobody asked for.

    Raises:
        HTTPError: 422.
    """
    for name in document:
        if name not in known:
            said = f"{quote(name)} is unknown; expected {', '.join(known)}"
            raise refuse_body(f"{pointer}{escape_pointer(name[:_SHOWN_CHARACTERS])}", "unknown", said)


def quote(value: object) -> str:
    """A value for a message: JSON, and never long."""
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON, though Python reads it")


def _integer(digits: str) -> int:
    if len(digits) > 400:
        raise OverflowError(digits[:10])
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise OverflowError(digits[:10])
    return number


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise _Doubled(next(name for name in names if names.count(name) > 1))
    return found
