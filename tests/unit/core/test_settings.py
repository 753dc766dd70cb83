"""Every setting is documented, and every mistake in them is reported at once."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import SettingsError
from core.settings import PREFIX, Settings, load_settings
from core.settings_table import env_example, settings_page
from tests.paths import ROOT

NAMES = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder without anybody's `.env`."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_env_example_lists_every_setting() -> None:
    """Breaks when a setting is added or changed, and `make settings-table` not run."""
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert set(re.findall(rf"^#({PREFIX}\w+)=", text, re.MULTILINE)) == NAMES
    assert text == env_example()


def test_the_page_of_settings_lists_every_setting() -> None:
    """Breaks when a setting is added or changed, and `make settings-table` not run."""
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == settings_page()


def test_every_setting_says_what_it_is() -> None:
    """Breaks when a setting has no description: the page of settings would have a hole."""
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_all_problems_come_in_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when a user has to start once per mistake."""
    for name, value in {"API_PORT": "http", "READINGS_KEPT": "2", "STATIONS": "-1", "API_PORTS": "1"}.items():
        monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    lines = str(caught.value).splitlines()
    assert lines[0] == "settings: 4 problem(s)"
    assert {line.split()[0].rstrip(":") for line in lines[1:]} == {
        f"{PREFIX}{name}" for name in ("API_PORT", "READINGS_KEPT", "STATIONS", "API_PORTS")
    }
    assert "'http'" in str(caught.value)
    assert "expected all, none, or a share" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "meant"), [("KAFKA_BOOTSTRAPS", "KAFKA_BOOTSTRAP"), ("STATION", "STATIONS"), ("api_prot", "API_PORT")]
)
def test_a_typo_is_named_with_what_was_meant(monkeypatch: pytest.MonkeyPatch, name: str, meant: str) -> None:
    """Breaks when a mistyped variable is silently ignored and its default used."""
    monkeypatch.setenv(PREFIX + name, "1")
    with pytest.raises(SettingsError, match=rf"{PREFIX}{name.upper()}: no such setting; is {PREFIX}{meant} meant\?"):
        load_settings()


def test_a_typo_in_the_env_file_counts_and_other_programs_lines_do_not(elsewhere: Path) -> None:
    """Breaks when `.env` is judged otherwise than the environment, or refuses what is not ours."""
    env = elsewhere / ".env"
    env.write_text("JAVA_HOME=/opt/java\nSTATIONWATCH_STATIONS=3\n", encoding="utf-8")
    assert load_settings().stations == 3
    env.write_text("STATIONWATCH_STATIONZ=3\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="is STATIONWATCH_STATIONS meant"):
        load_settings()


def test_an_empty_variable_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when `STATIONWATCH_STATIONS= make run` is a problem, or counts as the user's choice."""
    monkeypatch.setenv(f"{PREFIX}STATIONS", "")
    settings = load_settings()
    assert settings.stations == 25
    assert "stations" not in settings.model_fields_set


def test_an_open_address_needs_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when the API can be opened to a network without anybody asking who calls."""
    monkeypatch.setenv(f"{PREFIX}API_HOST", "0.0.0.0")
    with pytest.raises(SettingsError, match="API_TOKENS_FILE"):
        load_settings()


def test_a_bad_setting_ends_a_command_with_status_2(elsewhere: Path) -> None:
    """Breaks when a command starts on settings it cannot read, or ends with a traceback."""
    command = [sys.executable, "-m", "local_stack", "status"]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), f"{PREFIX}KAFKA_PORT": "99999"}
    done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "STATIONWATCH_KAFKA_PORT = '99999'" in done.stderr
    assert "Traceback" not in done.stderr


def test_more_readings_that_fired_than_are_looked_at_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when an alarm can never be told, and nobody says so."""
    monkeypatch.setenv(f"{PREFIX}ALARM_FIRED", "6")
    with pytest.raises(SettingsError, match="ALARM_FIRED=6 is more than ALARM_OF=5"):
        load_settings()


def test_links_lead_to_the_page_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when notifications link to nowhere."""
    assert load_settings().page_address == "http://127.0.0.1:8000"
    monkeypatch.setenv(f"{PREFIX}PAGE_URL", "https://plant.example/")
    assert load_settings().page_address == "https://plant.example"
