"""What every answer is made of: one `msgspec.Struct` a resource gives both its JSON schema and the answer itself."""

from __future__ import annotations

from typing import Annotated, Any, Self, overload

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from api.http.times import rfc3339
from api.representations.fields import about

Schema = dict[str, Any]
_REFERENCE = "#/components/schemas/{name}"


class OpenAnswer(msgspec.Struct):
    """Base of the objects that may hold more members than are declared."""


class Answer(msgspec.Struct):
    """Base of the objects that hold exactly the members that are declared.

    A member may be absent only where its default is UNSET.
    """

    @classmethod
    def of(cls, row: Any, **members: Any) -> Self:
        """The answer that shows a stored row.

        Args:
            row: has every other member under its own name; a time `x` or `x_time` as `x_ms`, in ms since the epoch.
            members: those that are shown in another way than they are stored.
        """
        for name in cls.__struct_fields__:
            if name not in members and hasattr(row, name):
                members[name] = getattr(row, name)
            elif name not in members and hasattr(row, time_ms := f"{name.removesuffix('_time')}_ms"):
                members[name] = time_or_none(getattr(row, time_ms))
        return cls(**members)


class PagedAnswer(Answer, kw_only=True):
    """Base of the pages of lists."""

    next_page_token: Annotated[str | UnsetType, about("absent at the end; a page may be short and have one")] = UNSET


class Model(Answer):
    """A model version, by name."""

    name: str
    version: str


@overload
def rounded(number: float) -> float: ...
@overload
def rounded(number: None) -> None: ...
def rounded(number: float | None) -> float | None:
    """The shortest decimal of what is stored in 32 bits: 21.4, not 21.399999618530273."""
    return None if number is None else float(str(np.float32(number)))


def time_or_none(time_ms: int | None) -> str | None:
    """A time of an answer; None while it is not known."""
    return None if time_ms is None else rfc3339(time_ms)


_referenced: dict[str, type[msgspec.Struct]] = {}


def ref(kind: type[msgspec.Struct]) -> Schema:
    """A reference to the schema of an answer; what is referred to is a component of /openapi.json.

    Not inside the body of a class: what stands there is read only once the schemas are made.
    """
    _referenced[kind.__name__] = kind
    return {"$ref": _REFERENCE.format(name=kind.__name__)}


def schema_of(answer: Schema | type[msgspec.Struct]) -> Schema:
    """The schema of an answer, or the schema that is given."""
    return answer if isinstance(answer, dict) else ref(answer)


def either(*kinds: type[msgspec.Struct]) -> Schema:
    """One of several answers."""
    return {"anyOf": [ref(kind) for kind in kinds]}


def nullable(schema: Schema) -> Schema:
    """The schema, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def schemas_of(*kinds: type[msgspec.Struct]) -> dict[str, Schema]:
    """The schemas of these answers, or of all that are referred to, and of what they hold, by name."""
    _, schemas = msgspec.json.schema_components(kinds or _referenced.values(), ref_template=_REFERENCE)
    unclosed = {kind.__name__ for kind in OpenAnswer.__subclasses__()}
    return {name: _completed(schema, closed=name not in unclosed) for name, schema in sorted(schemas.items())}


def _completed(schema: Schema, closed: bool) -> Schema:
    """Say which members are always there; the name and the docstring of a class are for its readers only."""
    members = schema["properties"]
    defaults = [name for name, member in members.items() if name not in schema["required"] and "default" in member]
    for name in defaults:
        del members[name]["default"]
    required = [name for name in members if name in schema["required"] or name in defaults]
    completed = {"type": "object", "required": required, "properties": members}
    return {**completed, "additionalProperties": False} if closed else completed
