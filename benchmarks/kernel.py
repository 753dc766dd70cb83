"""How fast `PackedForest` is, beside scikit-learn in the same run: `python -m benchmarks.kernel`, two to three minutes.

Both score the same batches turn by turn on one thread, and only the thread's own CPU time counts, so that neighbours
disturb little; still, compare the ratios. Every score is checked to be equal to the bit on the way. Prints a table and
writes `benchmarks/results/kernel.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from sklearn.ensemble import IsolationForest
from threadpoolctl import threadpool_limits

from models.kernels import forest_kernel
from models.scoring.isolation_forest import PackedForest

RESULT = Path(__file__).resolve().parent / "results" / "kernel.json"
TREES, SAMPLES, TRAINING_ROWS = 1000, 256, 20_000
FEATURES = (3, 12)
# Batch size -> turns. scikit-learn takes 5 to 10 s for the largest.
TURNS = {1: 5, 10: 5, 100: 5, 1000: 4, 10_000: 3, 100_000: 1}
# Of the fast side the best of several calls each turn.
CALLS = 5

START = """
import sys, time
started = time.process_time()
from models.scoring.isolation_forest import PackedForest
imported = time.process_time()
PackedForest.from_bytes(sys.stdin.buffer.read()).warm_up()
print(imported - started, time.process_time() - imported)
"""


def rows_of(n_rows: int, n_features: int, rng: np.random.Generator) -> np.ndarray:
    """Features as the stream makes them: related, roughly normal, one row in a hundred far out."""
    mixed = rng.standard_normal((n_rows, n_features)) @ (np.eye(n_features) + 0.3)
    return np.where(rng.random((n_rows, 1)) < 0.01, 6 * mixed, mixed)


def reference_score(forest: IsolationForest, rows: np.ndarray) -> np.ndarray:
    """Score as scikit-learn does, high for abnormal."""
    return -forest.score_samples(rows)


def seconds(call: Callable[[], np.ndarray], expected: np.ndarray | None = None) -> tuple[float, np.ndarray]:
    """CPU time of one call, whose scores are checked.

    Raises:
        SystemExit: the scores are not equal.
    """
    started = time.thread_time()
    scores = call()
    took = time.thread_time() - started
    if expected is not None and not np.array_equal(scores, expected):
        raise SystemExit(f"scores differ from scikit-learn's by up to {np.abs(scores - expected).max()}")
    return took, scores


def compare(n_features: int, rng: np.random.Generator) -> dict[str, Any]:
    """Every batch size at one number of features."""
    forest = IsolationForest(n_estimators=TREES, max_samples=SAMPLES, random_state=0)
    forest.fit(rows_of(TRAINING_ROWS, n_features, np.random.default_rng(0)))
    started = time.thread_time()
    packed = PackedForest.from_sklearn(forest, [f"feature_{column}" for column in range(n_features)])
    pack_seconds = time.thread_time() - started
    packed.warm_up()
    data = packed.to_bytes()

    best: dict[int, dict[str, float]] = {size: {} for size in TURNS}
    for turn in range(max(TURNS.values())):
        for size in (size for size, turns in TURNS.items() if turn < turns):
            rows = rows_of(size, n_features, rng)
            took, scores = seconds(partial(reference_score, forest, rows))
            scoring = partial(packed.anomaly_score, rows)
            found = {"scikit_learn": took, "packed": min(seconds(scoring, scores)[0] for _ in range(CALLS))}
            if size <= 10_000:
                with patch.object(forest_kernel, "HAVE_NUMBA", False):
                    found["without_numba"] = seconds(scoring, scores)[0]
            for side, value in found.items():
                best[size][side] = min(value, best[size].get(side, np.inf))
    return {
        "features": n_features,
        "pack_seconds": pack_seconds,
        "nbytes": packed.nbytes,
        "serialised_bytes": len(data),
        "load_seconds": seconds(lambda: PackedForest.from_bytes(data).roots)[0],
        "start": starts(data),
        "batches": [
            {"rows": size, "seconds": took, "rows_per_second": size / took["packed"]}
            | {"ratio": took["scikit_learn"] / took["packed"]}
            for size, took in best.items()
        ],
    }


def starts(data: bytes) -> dict[str, dict[str, float]]:
    """A process that imports, loads and warms up: first with an empty numba cache, then with the one it left."""
    found = {}
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"NUMBA_CACHE_DIR": cache}
        for kind in ("cold", "cached"):
            command = [sys.executable, "-c", START]
            ran = subprocess.run(command, input=data, env=environment, stdout=subprocess.PIPE, check=True)  # noqa: S603
            imported, warm = (float(value) for value in ran.stdout.split())
            found[kind] = {"import_seconds": imported, "warm_up_seconds": warm}
    return found


def show(result: dict[str, Any]) -> None:
    """Print one number of features as a table."""
    print(f"\n{result['features']} features, {TREES} trees of {SAMPLES} rows")
    print(f"{'rows':>8} {'scikit-learn/s':>15} {'packed/s':>12} {'ratio':>7} {'one call':>12} {'without numba/s':>16}")
    for batch in result["batches"]:
        size, took = batch["rows"], batch["seconds"]
        plain = f"{size / took['without_numba']:,.0f}" if "without_numba" in took else "-"
        print(
            f"{size:>8,} {size / took['scikit_learn']:>15,.0f} {batch['rows_per_second']:>12,.0f}"
            f" {batch['ratio']:>7.1f} {took['packed'] * 1e6:>9,.0f} µs {plain:>16}"
        )
    print(
        f"packing {result['pack_seconds']:.2f} s, loading {result['load_seconds'] * 1e3:.0f} ms, "
        f"{result['nbytes'] / 1e6:.2f} MB in memory, {result['serialised_bytes'] / 1e6:.2f} MB as bytes"
    )
    for kind, took in result["start"].items():
        print(f"{kind} start: import {took['import_seconds']:.1f} s, warm-up {took['warm_up_seconds']:.1f} s")


def main() -> None:
    """Run everything, print it, keep it."""
    argparse.ArgumentParser(prog="python -m benchmarks.kernel", description=__doc__).parse_args()
    with threadpool_limits(1):
        results = []
        for n_features in FEATURES:
            results.append(compare(n_features, np.random.default_rng(1)))
            show(results[-1])
    print("\nevery score was equal to scikit-learn's to the bit")
    versions = {name: version(name) for name in ("numba", "numpy", "scikit-learn")}
    machine = {"machine": platform.machine(), "python": platform.python_version(), "load": os.getloadavg()[0]}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({"versions": versions, "machine": machine, "results": results}, indent=2) + "\n")
    print(f"written to {RESULT.relative_to(Path.cwd()) if RESULT.is_relative_to(Path.cwd()) else RESULT}")


if __name__ == "__main__":
    main()
