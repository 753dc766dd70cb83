"""`python -m local_stack.downloads.jars_command FOLDER LOCK...`: fetch verified jars and lay them into FOLDER/LOCK."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from core.errors import StationwatchError
from core.settings import settings_or_exit
from local_stack.downloads.jars import jars


def main() -> int:
    """Fetch them; 0 when done, 1 with one sentence when they cannot be had."""
    if len(sys.argv) < 3:
        print("usage: python -m local_stack.downloads.jars_command FOLDER LOCK...", file=sys.stderr)
        return 2
    folder, names = Path(sys.argv[1]), sys.argv[2:]
    try:
        for name in names:
            (folder / name).mkdir(parents=True, exist_ok=True)
            for jar in jars(name, settings_or_exit().cache):
                shutil.copy(jar, folder / name)
    except StationwatchError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
