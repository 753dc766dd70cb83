"""Which stations stand together, and what is refused with a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.errors import SettingsError
from core.settings import load_settings
from core.station_groups import StationGroups


def test_a_list_or_a_pattern_names_the_group_and_the_first_holds() -> None:
    """Breaks when a pattern matches too much, or the order of groups is lost."""
    groups = StationGroups({"hall a": ("s1", "s2", "s3"), "hall-b": "station-00*", "rest": "*"})
    assert groups.group_of("s2") == "hall a"
    assert groups.group_of("station-0012") == "hall-b"
    assert groups.group_of("station-0112") == "rest"
    assert StationGroups({"b": "Station-*"}).group_of("station-1") is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"a": ["s1", "s2"]}, "2 stations; peers need 3"),
        ({"a": ["s1", "s1", "s2"]}, "2 stations"),
        ({"a": ["s1", "s2", "no/id"]}, "no station id"),
        ({"a": ["s1", "s2", "s3"], "b": ["s3", "s4", "s5"]}, "choose one"),
        ({"-": ["s1", "s2", "s3"]}, "expected a name"),
        ({"a": "station 1"}, "no pattern"),
        ({"a": 5}, "STATION_GROUPS"),
    ],
)
def test_bad_groups_are_refused_with_the_reason(given: object, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when a group that can never be asked is taken without a word."""
    monkeypatch.setenv("STATIONWATCH_STATION_GROUPS", json.dumps(given))
    with pytest.raises(SettingsError, match=said):
        load_settings()


def test_groups_come_from_a_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when the path of a file is taken for JSON."""
    (tmp_path / "groups.json").write_text('{"hall": ["s1", "s2", "s3"]}')
    monkeypatch.setenv("STATIONWATCH_STATION_GROUPS", str(tmp_path / "groups.json"))
    assert StationGroups(load_settings().station_groups).group_of("s3") == "hall"
