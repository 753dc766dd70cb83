"""Measures the detector and writes `docs/detection.md`: `python -m benchmarks.detection`, some 20 minutes on two cores.

`--quick` takes one plant, 100 trees, few series and cells, prints, and writes nothing: two minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from benchmarks.detection import tables
from benchmarks.detection.ablation import ABLATION
from benchmarks.detection.calibration import evaluate_calibration
from benchmarks.detection.detectors import BESIDE, REFERENCE_TREES, Judge, reference_forest, stationwatch
from benchmarks.detection.page import OURS, REFERENCE, page
from benchmarks.detection.series import FOLDER, NabSeries, evaluate_nab, read_series
from benchmarks.detection.simulator import as_table, simulated, trade_off
from iot_simulator.process import Flavour

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "benchmarks" / "results" / "detection.json"
PAGE = ROOT / "docs" / "detection.md"
PARTS = ("simulator", "hard", "nab", "calibration", "ablation")
FLAVOUR: dict[str, Flavour] = {"simulator": "plain", "hard": "hard"}
SEEDS, QUICK_SEEDS, ABLATION_SEEDS = 3, 1, 1
PROCESSES = 2  # parts measured at once
QUICK_TREES, QUICK_SERIES = 100, 4  # trees; every fourth series
# Nothing was chosen by looking at these plants: whoever tunes takes other seeds.
FIRST_SEED = 101


@dataclass(frozen=True)
class Options:
    """What to measure.

    Args:
        parts: of `PARTS`.
        seeds: simulated plants of each flavour.
        quick: less of everything, nothing written.
        nab: folder of the labelled series.
    """

    parts: tuple[str, ...]
    seeds: int
    quick: bool
    nab: Path

    def plants(self, most: int | None = None) -> list[int]:
        """Seeds of the plants."""
        return [FIRST_SEED + number for number in range(min(self.seeds, most or self.seeds))]

    def detectors(self) -> dict[str, Judge]:
        """All that stand in one table."""
        trees = QUICK_TREES if self.quick else REFERENCE_TREES
        return {OURS: stationwatch(trees), REFERENCE: reference_forest(trees), **BESIDE}


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and keep what a full run found."""
    options, stamp = _parse(arguments), _stamp()
    with ProcessPoolExecutor(min(PROCESSES, len(options.parts))) as pool:
        for done in as_completed([pool.submit(_measured, part, options) for part in options.parts]):
            part, found = done.result()
            if found is None:
                continue
            measured = stamp | found
            print(f"\n{part}, {measured['seconds']:.0f} s\n{_text(part, measured)}", flush=True)
            if not options.quick:
                _keep({part: measured})
    return 0


def _measured(part: str, options: Options) -> tuple[str, dict[str, Any] | None]:
    """Measure one part, in a process of its own."""
    started = time.monotonic()
    with threadpool_limits(1):
        found = _MEASURE[part](part, options)
    return part, found and found | {"seconds": round(time.monotonic() - started, 1)}


def _parse(arguments: list[str] | None) -> Options:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one plant, few trees and cells; writes nothing")
    parser.add_argument("--parts", type=_parts, default=PARTS, help=f"some of {','.join(PARTS)}")
    parser.add_argument("--seeds", type=int, help=f"simulated plants per flavour ({SEEDS}; quick: {QUICK_SEEDS})")
    parser.add_argument("--nab", type=Path, default=FOLDER, help="folder of NAB's series with windows.json")
    given = parser.parse_args(arguments)
    if given.seeds is not None and given.seeds < 1:
        parser.error(f"--seeds {given.seeds}: expected at least 1")
    return Options(given.parts, given.seeds or (QUICK_SEEDS if given.quick else SEEDS), given.quick, given.nab)


def _parts(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: expected some of {', '.join(PARTS)}")
    return names


def _measure_plants(part: str, options: Options) -> dict[str, Any]:
    outcomes, curve = {}, {}
    for name, detector in options.detectors().items():
        outcomes[name] = simulated(detector, FLAVOUR[part], options.plants())
        if name == OURS:
            curve = trade_off(outcomes[name])
        _say(part, name)
    found = {name: as_table(outcome.evaluated()) for name, outcome in outcomes.items()}
    return {"seeds": len(options.plants()), "tables": found, "curve": curve}


def _measure_nab(part: str, options: Options) -> dict[str, Any] | None:
    series = _series(options)
    if series is None:
        return None
    found = {}
    for name, detector in options.detectors().items():
        found[name] = evaluate_nab(detector, series=series)
        _say(part, name)
    return {"tables": found}


def _measure_calibration(part: str, options: Options) -> dict[str, Any]:
    found = {}
    cells: dict[str, Any] = {"cadences": (1.0, 60.0), "training_rows": (200, 1000)} if options.quick else {}
    for name, detector in options.detectors().items():
        flavours: tuple[Flavour, ...] = ("plain", "hard") if name == OURS and not options.quick else ("plain",)
        found[name] = [
            cell for flavour in flavours for cell in evaluate_calibration(detector, flavour=flavour, **cells)
        ]
        _say(part, name)
    return {"tables": found}


def _measure_ablation(part: str, options: Options) -> dict[str, Any]:
    series = None if options.quick else _series(options)
    plants, found = options.plants(ABLATION_SEEDS), {}
    for name, detector in {"whole": stationwatch(QUICK_TREES), **ABLATION}.items():
        found[name] = {
            part: as_table(simulated(detector, flavour, plants).evaluated()) for part, flavour in FLAVOUR.items()
        }
        if series is not None:
            found[name]["nab"] = evaluate_nab(detector, series=series)
        _say(part, name)
    return {"seeds": len(plants), "tables": found}


_MEASURE: dict[str, Callable[[str, Options], dict[str, Any] | None]] = {
    "simulator": _measure_plants,
    "hard": _measure_plants,
    "nab": _measure_nab,
    "calibration": _measure_calibration,
    "ablation": _measure_ablation,
}


def _series(options: Options) -> list[NabSeries] | None:
    if not (options.nab / "windows.json").exists():
        print(
            f"NAB's series are left out: there is no {options.nab / 'windows.json'}; name their folder with --nab",
            flush=True,
        )
        return None
    return read_series(options.nab)[:: QUICK_SERIES if options.quick else 1]


def _text(part: str, found: dict[str, Any]) -> str:
    shown = found["tables"]
    if part == "nab":
        return tables.nab_table(shown)
    if part == "calibration":
        return tables.calibration_table(shown)
    if part == "ablation":
        return tables.ablation_table(shown)
    parts = (tables.whole_table(shown), tables.kind_table(shown), tables.cell_table(shown[OURS]))
    return "\n\n".join((*parts, tables.curve_table(found["curve"])))


def _keep(measured: dict[str, Any]) -> None:
    """Replace what was measured; parts that were not keep their last figures, with their own date and commit."""
    parts = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    parts = {name: (parts | measured)[name] for name in PARTS if name in parts or name in measured}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(parts, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(parts), encoding="utf-8")
    print(f"\nwritten to {RESULT.relative_to(ROOT)} and {PAGE.relative_to(ROOT)}")


def _stamp() -> dict[str, str]:
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    ran = subprocess.run(git, capture_output=True, text=True, check=False)  # noqa: S603
    return {"date": datetime.now(UTC).date().isoformat(), "commit": ran.stdout.strip() or "unknown"}


def _say(part: str, name: str) -> None:
    print(f"{part}: {name} judged", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
