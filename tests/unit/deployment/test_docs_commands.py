"""Commands, targets, files and headings that the operator's pages name are there."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from core.settings import PREFIX, Settings
from tests.oracle.images import stages
from tests.paths import ROOT

PAGES = [ROOT / "docs/runbook.md", ROOT / "docs/deploy.md", ROOT / "docs/metrics.md", ROOT / "docker/README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_is_there(page: Path) -> None:
    """Breaks when a command was renamed and somebody at night types the old one."""
    text = page.read_text()
    for module in set(re.findall(r"python -m ([a-z_.]+[a-z_])", text)):
        assert importlib.util.find_spec(module), module
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", text, re.MULTILINE)):
        assert re.search(rf"(?m)^{''.join(target)}:", makefile), target
    for variable in set(re.findall(rf"{PREFIX}([A-Z_]*[A-Z])", text)):
        assert variable.lower() in Settings.model_fields, variable
    for path in set(re.findall(r"`((?:tests|docker|prometheus|grafana)/[\w./-]+)`", text)):
        assert (ROOT / path).exists() or path == "docker/secrets/", path


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
