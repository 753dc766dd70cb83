"""What the probes answer, and the problem document that every error is."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from api.representations import fields
from api.representations.common import OpenAnswer


class Check(OpenAnswer):
    """One condition of readiness."""

    name: str
    ok: bool
    detail: str


class Alive(OpenAnswer):
    """The process answers."""

    status: Annotated[str, fields.schema(const="alive")] = "alive"


class Ready(OpenAnswer):
    """What is shown can be trusted."""

    status: Annotated[str, fields.schema(const="ready")] = "ready"
    checks: list[Check] | UnsetType = UNSET


class ProblemError(OpenAnswer):
    """What is wrong with one value."""

    pointer: Annotated[str, Meta(examples=["/query/limit"])]
    code: str
    detail: str


class Problem(OpenAnswer):
    """RFC 9457 problem document; what kinds of problems add comes as further members."""

    type: Annotated[str, Meta(examples=["urn:stationwatch:problem:invalid-parameter"]), fields.schema(format="uri")]
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: str
    instance: Annotated[str, Meta(description="the request's id, as in X-Request-Id and in the log")]
    errors: list[ProblemError] | UnsetType = UNSET
    checks: list[Check] | UnsetType = UNSET
