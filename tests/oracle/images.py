"""What docker/Dockerfile says, read without Docker."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

from tests.paths import ROOT


class Step(NamedTuple):
    """One instruction."""

    word: str
    rest: str


def stages() -> dict[str, list[Step]]:
    """Stage → its instructions, those of the stage it builds on first."""
    found: dict[str, list[Step]] = {}
    text = re.sub(r"(?m)^#.*\n", "", (ROOT / "docker/Dockerfile").read_text()).replace("\\\n", " ")
    name = ""
    for line in filter(None, map(str.strip, text.splitlines())):
        word, rest = line.split(maxsplit=1)
        if word == "FROM":
            source, _, name = rest.split()
            found[name] = [*found.get(source, [])]
        found[name].append(Step(word, rest))
    return found


def copies(steps: list[Step]) -> list[tuple[str, str]]:
    """(from, to) of every COPY, below the repository and below the working folder."""
    found = []
    for step in steps:
        if step.word == "COPY":
            *sources, target = step.rest.split()
            many = target.endswith("/")
            found += [(source, f"{target}{Path(source).name}" if many else target) for source in sources]
    return found


def last(steps: list[Step], word: str) -> str:
    """The last instruction of this kind."""
    return [step.rest for step in steps if step.word == word][-1]


def entrypoint(steps: list[Step]) -> list[str]:
    """The command line."""
    return [str(part) for part in json.loads(last(steps, "ENTRYPOINT"))]
