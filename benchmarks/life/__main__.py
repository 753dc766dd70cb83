"""Measure the model's life: `python -m benchmarks.life [--parts drift,swap]`.

Prints the figures and merges them into `benchmarks/results/life.json`; the tables of docs/drift.md and docs/models.md
are written once all of their parts were measured here.
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
from benchmarks.life.page import with_figures, with_swap

RESULT = Path(__file__).resolve().parents[1] / "results" / "life.json"
DOCS = Path(__file__).resolve().parents[2] / "docs"
PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "drift": drift.measure,
    "feedback": feedback.measure,
    "poisoned": poisoned.measure,
    "retraining": retraining.measure,
    "swap": swap.measure,
}
PAGES: dict[str, tuple[frozenset[str], Callable[[str, dict[str, Any]], str]]] = {
    "drift.md": (frozenset(PARTS) - {"swap"}, with_figures),
    "models.md": (frozenset({"swap"}), with_swap),
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
    for name, (parts, written) in PAGES.items():
        page = DOCS / name
        if parts <= known.keys():
            page.write_text(written(page.read_text(encoding="utf-8"), known), encoding="utf-8")
        else:
            print(f"docs/{name} stays as it is, not measured here: {', '.join(sorted(parts - known.keys()))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
