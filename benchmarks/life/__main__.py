"""Measure the model's life: `python -m benchmarks.life [--parts drift,feedback,poisoned]`.

Prints the figures, merges them into `benchmarks/results/life.json` and writes the table of docs/drift.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.life import drift, feedback, poisoned, retraining, swap
from benchmarks.life.page import with_figures

RESULT = Path(__file__).resolve().parents[1] / "results" / "life.json"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "drift.md"
PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "drift": drift.measure,
    "feedback": feedback.measure,
    "poisoned": poisoned.measure,
    "retraining": retraining.measure,
    "swap": swap.measure,
}


def main(arguments: list[str] | None = None) -> int:
    """Measure the parts that are asked for; what was measured before stays."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.life", description=__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    names = parser.parse_args(arguments).parts.split(",")
    unknown = sorted(set(names) - set(PARTS))
    if unknown:
        parser.error(f"--parts: no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    known: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    for name in names:
        print(name, flush=True)
        began = time.perf_counter()
        known[name] = PARTS[name]() | {"measured_in_seconds": round(time.perf_counter() - began, 1)}
        for figure, value in known[name].items():
            print(f"  {figure:34s} {value:.4g}" if isinstance(value, float) else f"  {figure:34s} {value}", flush=True)
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    PAGE.write_text(with_figures(PAGE.read_text(encoding="utf-8"), known), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
