"""Measures the stream on real servers, writes docs/performance.md and scaling.md: `python -m benchmarks.stream`.

The parts `stages` and `api` start what they need themselves; all others run on the same Kafka and Cassandra, one after
the other. Each replaces its own figures of the last run.
`--quick` takes little of everything, prints, and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.api import measured
from benchmarks.stream.latency import latency
from benchmarks.stream.page import performance_page
from benchmarks.stream.plant import ROOT, plant
from benchmarks.stream.scaling import scaling_page
from benchmarks.stream.stages import stages
from benchmarks.stream.stations import by_stations, by_tasks, soak, start_up
from benchmarks.stream.throughput import bytes_on_disk, throughput
from core.settings import Settings
from local_stack.servers.stack import Stack

RESULT = ROOT / "benchmarks" / "results" / "stream.json"
PERFORMANCE, SCALING = ROOT / "docs" / "performance.md", ROOT / "docs" / "scaling.md"

# Of what a part keeps. Figures of another layout are not shown beside those of today.
LAYOUT = 2
Part = Callable[[Settings, Stack, argparse.Namespace], Any]
# These start what they need themselves.
ALONE: dict[str, Callable[[argparse.Namespace], Any]] = {
    "stages": lambda asked: stages(),
    "api": lambda asked: measured(seconds=asked.seconds),
}
PARTS: dict[str, Part] = {
    "throughput": lambda settings, stack, asked: throughput(settings, stack, 2000, asked.readings, asked.turns),
    "latency": lambda settings, stack, asked: [latency(settings, stack, rate, asked.seconds) for rate in asked.rates],
    "stations": lambda settings, stack, asked: by_stations(settings, stack, asked.stations, asked.readings // 2),
    "partitions": lambda settings, stack, asked: by_tasks(settings, stack, 2000, asked.readings // 2),
    "startup": lambda settings, stack, asked: start_up(settings, stack),
    "soak": lambda settings, stack, asked: soak(settings, stack, 1000, asked.soak),
}
WHOLE = {"readings": 1_600_000, "turns": 2, "seconds": 120.0, "soak": 1800.0}
QUICK = {"readings": 150_000, "turns": 1, "seconds": 30.0, "soak": 60.0}


def main() -> int:
    """Measure, print, and keep what a full run found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stream", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="little of everything; writes nothing")
    parser.add_argument("--parts", type=_parts, default=(*ALONE, *PARTS), help=f"some of {','.join((*ALONE, *PARTS))}")
    parser.add_argument("--home", type=Path, help="folder to keep; else a temporary one")
    parser.add_argument("--readings", type=int, help="of a backlog")
    parser.add_argument("--turns", type=int, help="of each path")
    parser.add_argument("--seconds", type=float, help="of each rate")
    parser.add_argument("--soak", type=float, help="seconds of the long run")
    parser.add_argument("--rates", type=_numbers, default=(25, 1000, 5000), help="readings a second, 25,1000,5000")
    parser.add_argument("--stations", type=_numbers, default=(100, 1000, 10_000, 200_000))
    parser.add_argument("--pages", action="store_true", help="write the pages of what was measured before, no more")
    chosen = parser.parse_args()
    for name, value in (QUICK if chosen.quick else WHOLE).items():
        setattr(chosen, name, getattr(chosen, name) or value)
    if chosen.pages:
        return _keep({})
    found: dict[str, Any] = {}
    for name in ALONE:
        if name in chosen.parts:
            _done(found, name, ALONE[name](chosen), chosen)
    rest = [name for name in chosen.parts if name in PARTS]
    if not rest:
        return 0
    with _home(chosen.home) as home:
        with plant(home) as (settings, stack):
            if chosen.quick:  # as many batches of fewer readings
                trigger = max(1, chosen.readings // 8)
                settings = settings.model_copy(update={"max_offsets_per_trigger": trigger})
            for name in rest:
                _done(found, name, PARTS[name](settings, stack, chosen), chosen)
        if "throughput" in found:
            # Only now, stopped, have the servers written everything to their files.
            found["throughput"]["found"]["bytes"] = bytes_on_disk(home, found["throughput"]["found"])
    return 0 if chosen.quick else _keep(found)


def _done(parts: dict[str, Any], name: str, found: Any, chosen: argparse.Namespace) -> None:
    """Print a part, and keep it at once: a later one may be interrupted."""
    parts[name] = _stamp() | {"found": found}
    print(f"{name}: {json.dumps(parts[name])}", flush=True)
    if not chosen.quick:
        _keep(parts)


def _parts(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in {**ALONE, **PARTS}]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: expected some of {', '.join((*ALONE, *PARTS))}")
    return names


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


@contextmanager
def _home(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="stationwatch-stream-") as home:
        yield Path(home)


def _keep(found: dict[str, Any]) -> int:
    stored = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    parts = {name: part for name, part in stored.items() if part.get("layout") == LAYOUT} | found
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(parts, indent=1) + "\n", encoding="utf-8")
    PERFORMANCE.write_text(performance_page(parts), encoding="utf-8")
    SCALING.write_text(scaling_page(parts), encoding="utf-8")
    print(f"written to {', '.join(str(path.relative_to(ROOT)) for path in (RESULT, PERFORMANCE, SCALING))}")
    return 0


def _stamp() -> dict[str, Any]:
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    ran = subprocess.run(git, capture_output=True, text=True, check=False)  # noqa: S603
    return {
        "layout": LAYOUT,
        "date": datetime.now(UTC).date().isoformat(),
        "commit": ran.stdout.strip() or "unknown",
        "cores": os.cpu_count(),
        # Over the last 15 minutes: what this benchmark itself makes is about 2.
        "load": round(os.getloadavg()[2], 1),
    }


if __name__ == "__main__":
    sys.exit(main())
