"""The settings as documents show them: `--markdown` for the table, `--env-example` for `.env.example`."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from core.process import DONE, Command, run_command
from core.settings import PREFIX, Settings

_HEAD = """# Settings

Each setting is an environment variable, or a line in `.env` in the working folder. All mistakes are reported together,
with the variable, its value and what is expected. `make settings-table` writes this page from `core/settings.py`.
"""


def settings_page() -> str:
    """Return `docs/settings.md`."""
    return f"{_HEAD}\n{markdown_table()}\n"


def markdown_table() -> str:
    """Return the settings as a table."""
    rows = [f"| `{name}` | {f'`{shown}`' if shown else ''} | {text} |" for name, shown, text in _documented()]
    return "\n".join(["| Variable | Default | What it is |", "|---|---|---|", *rows])


def env_example() -> str:
    """Return the settings as `.env.example` shows them."""
    head = (
        "# Copy to .env, which is read in the working folder, and uncomment what you change. Here are the defaults.\n"
    )
    return head + "".join(f"\n# {text}\n#{name}={shown}\n" for name, shown, text in _documented())


def _documented() -> list[tuple[str, str, str]]:
    """Return variable, default and description of each setting. Defaults that depend on the machine are empty."""
    documented = []
    for name, field in Settings.model_fields.items():
        shown = str(field.default) if isinstance(field.default, (str, int, float, Path)) else ""
        documented.append((f"{PREFIX}{name.upper()}", shown, field.description or ""))
    return documented


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the choice of the form."""
    parser.set_defaults(form=settings_page)
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--markdown", dest="form", action="store_const", const=settings_page)
    forms.add_argument("--env-example", dest="form", action="store_const", const=env_example)


def print_settings(options: argparse.Namespace) -> int:
    """Print them."""
    sys.stdout.write(options.form())
    return DONE


COMMAND = Command("settings", "print every setting with its default", print_settings, add_arguments, __doc__)
main = partial(run_command, COMMAND, "python -m core.settings_table", __doc__)


if __name__ == "__main__":
    sys.exit(main())
