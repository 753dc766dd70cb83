"""Which release of stationwatch this is."""

from __future__ import annotations

import tomllib
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


@cache
def release() -> str:
    """Return the version of the installed package, else that of the checkout; "unknown" where neither is at hand."""
    with suppress(PackageNotFoundError):
        return version("stationwatch")
    with suppress(OSError):
        return str(tomllib.loads(_PROJECT.read_text(encoding="utf-8"))["project"]["version"])
    return "unknown"
