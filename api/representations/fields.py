"""The kinds of members that answers have, with their formats, units, ranges and descriptions."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from core.reading import STATION_ID
from models.scoring.rules import RULES


def about(text: str) -> Meta:
    """A description of a member."""
    return Meta(description=text)


def one_of(*values: object) -> Meta:
    """A member that has one of these values."""
    return Meta(extra_json_schema={"enum": list(values)})


def schema(**keywords: Any) -> Meta:
    """A member that is checked by this schema alone: what was stored passes through as it is."""
    return Meta(extra_json_schema=keywords)


TEXT: dict[str, Any] = {"type": "string"}
Count = Annotated[int, Meta(ge=0)]
Severity = Annotated[float, Meta(ge=0, le=100)]
SeverityClass = Annotated[str, one_of("critical", "major", "minor", "warning", "low")]
Rule = Annotated[str, one_of(*sorted(rule.name for rule in RULES))]
Time = Annotated[
    str,
    Meta(
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
        examples=["2026-11-21T10:15:04.250Z"],
        extra_json_schema={"format": "date-time"},
    ),
]
StationId = Annotated[str, Meta(pattern=f"^{STATION_ID.pattern}$", examples=["station-0007"])]
StationGroup = Annotated[str | None, about("stations that stand together, as configured")]
