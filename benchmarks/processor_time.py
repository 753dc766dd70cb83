"""Processor time a reading of this checkout against another one: `python -m benchmarks.processor_time OTHER`.

Both measure the same stages (`benchmarks.stream.stages`), each with its own environment, turn by turn: what else the
machine does then strikes both. Two medians and their ratio are printed and written as JSON; nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULT = Path(__file__).resolve().parent / "results" / "processor_time.json"
# Measured beside the path that readings take: how records of an unusual form are parsed.
ONE_BY_ONE = "parse, record by record"
ALL = "all that every reading passes"
PROGRAM = "import json; from benchmarks.stream.stages import stages; print(json.dumps(stages()))"


def measured(checkout: Path) -> dict[str, float]:
    """Return µs of processor time a reading, by stage, in a fresh process of that checkout."""
    command = [str(checkout / ".venv" / "bin" / "python"), "-c", PROGRAM]
    done = subprocess.run(command, cwd=checkout, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    stages: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return stages


def medians(turns: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of each stage, and of the sum of those that every reading passes."""
    sums = [
        sum(spent for name, spent in turn.items() if "one by one" not in name and name != ONE_BY_ONE) for turn in turns
    ]
    stages = {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}
    return stages | {ALL: statistics.median(sums)}


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.processor_time", description=__doc__)
    parser.add_argument("other", type=Path, help="another checkout, made ready by `make setup`")
    parser.add_argument("--turns", type=int, choices=range(1, 101), default=8, metavar="N", help="of each (8)")
    options = parser.parse_args(arguments)
    checkouts = {"this": ROOT, "other": options.other.resolve()}
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in checkouts}
    for turn in range(options.turns):
        for name in list(checkouts) if turn % 2 else reversed(checkouts):
            turns[name].append(measured(checkouts[name]))
    this, other = medians(turns["this"]), medians(turns["other"])
    print(f"{'us a reading':40s} {'other':>8s} {'this':>8s} {'ratio':>7s}")
    for stage in other:
        if stage in this:
            print(f"{stage:40s} {other[stage]:8.2f} {this[stage]:8.2f} {this[stage] / max(other[stage], 1e-9):7.3f}")
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({"this": this, "other": other, "turns": turns}, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
