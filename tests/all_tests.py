"""Every test but the slow ones, as two runs of pytest side by side: `make test`.

Most tests wait for servers, so one run leaves half of two processors idle. Each run starts servers of its own. The
second run comes to the browser when the first one is over: pages are looked at on a quiet machine.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import IO, TypeVar

from tests.paths import ROOT

FIRST = ("tests/unit", "tests/faults", "tests/spark")
SECOND = ("tests/integration", "tests/browser")
PASSED, NOTHING_COLLECTED = 0, 5
Result = TypeVar("Result")
COUNT = re.compile(r"(\d+) (passed|failed|error|skipped|deselected|xfailed|xpassed|warning)s?\b")


def main(arguments: Sequence[str]) -> int:
    """Run both and print a summary as pytest does; further arguments go to both.

    Returns:
        The exit status of the run that failed, else 0.
    """
    begun = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        first, second = start(FIRST, arguments, output), start(SECOND, arguments, subprocess.PIPE)
        assert second.stdout is not None
        shown = second.stdout
        counts = to_the_end(lambda: show(shown))
        statuses = [to_the_end(second.wait), to_the_end(first.wait)]
        output.seek(0)
        print(f"\n{' ' + ' '.join(FIRST) + ' ':=^120}")
        counts += show(output)
    summary = ", ".join(f"{number} {what}" for what, number in counts.items())
    print(f"\n{f' both runs: {summary} in {time.monotonic() - begun:.0f}s ':=^120}")
    failed = [status for status in statuses if status not in (PASSED, NOTHING_COLLECTED)]
    if failed:
        return failed[0]
    return PASSED if PASSED in statuses else NOTHING_COLLECTED


def start(folders: Sequence[str], arguments: Sequence[str], output: IO[str] | int) -> subprocess.Popen[str]:
    """Start one run. Its cache has a name of its own, since both write theirs at the end."""
    cache = f"cache_dir=.pytest_cache/{folders[0].rpartition('/')[2]}"
    command = [sys.executable, "-m", "pytest", "-m", "not slow", "-o", cache, *folders, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, text=True)


def show(lines: Iterable[str]) -> Counter[str]:
    """Print the output of a run; return what its last summary counts."""
    counts: Counter[str] = Counter()
    for line in lines:
        print(line, end="", flush=True)
        if re.search(r" in [\d.]+s\b", line) and COUNT.search(line):
            counts = Counter({what: int(number) for number, what in COUNT.findall(line)})
    return counts


def to_the_end(waiting: Callable[[], Result]) -> Result:
    """Wait on after Ctrl-C: it has reached the runs as well, and they still have to stop their servers."""
    while True:
        try:
            return waiting()
        except KeyboardInterrupt:
            continue


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
