"""`python -m local_stack.downloads.jars_command FOLDER LOCK...`: fetch verified jars and lay them into FOLDER/LOCK."""

from __future__ import annotations

import argparse
import shutil
import sys
from functools import partial
from pathlib import Path

from core.process import DONE, Command, run_command
from core.settings import load_settings
from local_stack.downloads.coordinates import LOCKS
from local_stack.downloads.jars import jars


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the folder and the names of the locks."""
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("names", nargs="+", choices=sorted(LOCKS), metavar="LOCK")


def lay_out_jars(options: argparse.Namespace) -> int:
    """Fetch them; an error says which cannot be had."""
    cache = load_settings().cache
    for name in options.names:
        folder = options.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        for jar in jars(name, cache):
            shutil.copy(jar, folder)
    return DONE


COMMAND = Command("jars", "fetch verified jars into a folder", lay_out_jars, add_arguments, __doc__)
main = partial(run_command, COMMAND, "python -m local_stack.downloads.jars_command", __doc__)


if __name__ == "__main__":
    sys.exit(main())
