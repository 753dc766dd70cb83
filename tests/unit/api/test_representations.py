"""Answers and their schemas come from one definition."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

import msgspec
import pytest
from msgspec import UNSET, UnsetType

from api.representations import fields
from api.representations.anomalies import Judged
from api.representations.common import Answer, schemas_of
from tests.unit.api.api_client import client

OPEN = {"Alive", "Check", "Problem", "ProblemError", "Ready"}


class Row(NamedTuple):
    station_id: str = "s-1"
    begun_ms: int = 1_795_256_104_250
    closed_ms: int | None = None
    end_ms: int = 0


class Shown(Answer):
    station_id: fields.StationId
    begun_time: fields.Time
    closed_time: fields.Time | None
    end: fields.Time
    count_of: fields.Count
    note: str | UnsetType = UNSET


def test_a_row_is_shown_under_its_own_names() -> None:
    """Breaks when a stored value is lost, a time is no longer a time, or an absent member becomes null."""
    assert json.loads(msgspec.json.encode(Shown.of(Row(), count_of=3))) == {
        "station_id": "s-1",
        "begun_time": "2026-11-21T10:15:04.250Z",
        "closed_time": None,
        "end": "1970-01-01T00:00:00.000Z",
        "count_of": 3,
    }
    with pytest.raises(TypeError, match="count_of"):
        Shown.of(Row())


def test_a_schema_says_which_members_are_always_there() -> None:
    """Breaks when a member may be missing without notice, or one that is not declared may come."""
    schema = schemas_of(Shown)["Shown"]
    assert schema["required"] == ["station_id", "begun_time", "closed_time", "end", "count_of"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["count_of"] == {"type": "integer", "minimum": 0}


def test_every_component_is_strict_and_every_reference_leads_somewhere() -> None:
    """Breaks when an answer silently takes further members, or /openapi.json refers to nothing."""
    spec = client().get("/openapi.json").get_json()
    schemas = spec["components"]["schemas"]
    assert {name for name, schema in schemas.items() if schema.get("additionalProperties") is not False} == OPEN
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(spec)))
    assert named <= schemas.keys()


@pytest.mark.parametrize("document", ["", "not json", "[]", '{"sensors": 5}'])
def test_an_explanation_that_cannot_be_read_leaves_the_verdict(document: str) -> None:
    """Breaks when one damaged row makes a whole list unreadable."""
    judged = Judged.from_verdict(1.5, 82.4, 1, document)
    assert (judged.is_anomaly, judged.score, judged.sensors, judged.cause) == (True, 1.5, [], None)


def test_an_explanation_of_another_release_is_shown_as_far_as_it_goes() -> None:
    """Breaks when a member that is not known, or one that is missing, hides the rest."""
    document = '{"sensors": [{"name": "noise", "more": 1}], "later": 2, "cause": {"hint": "process"}, "action": "text"}'
    judged = Judged.from_verdict(1.5, 82.4, 1, document)
    assert (judged.sensors[0].name, judged.sensors[0].unit) == ("noise", None)
    assert (judged.cause.hint, judged.cause.evidence, judged.action) == ("process", "", None)
