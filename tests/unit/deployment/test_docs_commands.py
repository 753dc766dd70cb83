"""Commands, targets, files and headings that the operator's pages name are there."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from core.settings import PREFIX, Settings
from stationwatch.commands import ENTRIES
from tests.oracle.images import stages
from tests.paths import ROOT

NOT_NOW = {"changelog.md"}  # names what was
PAGES = [
    *sorted(path for path in (ROOT / "docs").glob("*.md") if path.name not in NOT_NOW),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "docker/README.md", "tests/README.md")),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_a_page_names_is_there(page: Path) -> None:
    """Breaks when a command was renamed and somebody at night types the old one."""
    text = page.read_text()
    for module in set(re.findall(r"python -m ([a-z_.]+[a-z_])", text)):
        assert importlib.util.find_spec(module), module
    for command in set(re.findall(r"(?m)^(?:\S*/)?stationwatch ([a-z][a-z-]+)", _commands(text))):
        assert command in ENTRIES, command
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", text, re.MULTILINE)):
        assert re.search(rf"(?m)^{''.join(target)}:", makefile), target
    for variable in set(re.findall(rf"{PREFIX}([A-Z_]*[A-Z])", text)):
        assert variable.lower() in Settings.model_fields, variable
    for path in set(re.findall(r"`((?:tests|docker|prometheus|grafana)/[\w./-]+)`", text)):
        assert (ROOT / path).exists() or path == "docker/secrets/", path


def _commands(text: str) -> str:
    """The parts of a page that are typed: code blocks and code in lines."""
    return "\n".join([*re.findall(r"(?s)```\n?(.*?)```", text), *re.findall(r"`([^`\n]+)`", text)]) + "\n"


def test_headings_that_are_linked_exist() -> None:
    """Breaks when a link inside the runbook leads nowhere."""
    text = (ROOT / "docs/runbook.md").read_text()
    headings = {
        re.sub(r"[^\w -]", "", one).strip().lower().replace(" ", "-") for one in re.findall(r"(?m)^#+ (.+)$", text)
    }
    assert set(re.findall(r"\]\(#([\w-]+)\)", text)) <= headings


def test_the_images_that_are_to_be_built_exist() -> None:
    """Breaks when the loop of docs/deploy.md builds what the Dockerfile does not have, or leaves one out."""
    loop = re.search(r"for image in ([a-z ]+); do", (ROOT / "docs/deploy.md").read_text())
    assert loop is not None
    assert set(loop[1].split()) == set(stages()) - {"base"}
