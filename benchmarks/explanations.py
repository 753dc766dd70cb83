"""How good explanations are, on simulated plants: `python -m benchmarks.explanations`, some two minutes on one core.

Faults bend one sensor each (models/evaluation/fault_models.py); disturbances move those sensors together that the
simulator's climate or machines move together. Nothing was chosen by looking at these plants: tuning takes other seeds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.detection.simulator import CADENCE, DAYS, START_MS, STATIONS, TRAINING_DAYS, Plant, faulty_plant
from core.sensors import DEFAULT_SENSORS
from core.verdict import Verdicts
from iot_simulator.process import Flavour, StationProcess
from iot_simulator.profiles import profile_of
from models.evaluation.backtest import Model, chosen, fitted
from models.evaluation.fault_models import KINDS
from models.explanation.contributions import contributions
from models.explanation.counterfactual import Change, smallest_change
from models.explanation.sentence import at_least
from models.explanation.shap_values import shap_values
from models.explanation.verdict_document import verdict_documents
from models.scoring.detector import Detector
from models.scoring.feature_block import Blocks
from models.scoring.shard_state import ShardState

SEEDS: dict[Flavour, int] = {"plain": 201, "hard": 202}
TREES = 1000
DISTURBANCES = {"climate": "environment", "activity": "process"}
_SIZES = (3.0, 4.0, 6.0, 10.0)
_LENGTHS = (20, 240)
_PAUSE = (240, 480)
_RAMP = 5.0  # readings in which a disturbance comes and goes
_EACH = 6  # readings looked at per fault
_CHANGED = 60  # readings that are really taken again with the smallest change
_PER_DAY = round(86_400 / CADENCE)


@dataclass(frozen=True)
class Span:
    """What happened to a station, and when: rows of its own readings, half-open. `sensor` is -1 where several moved."""

    station: int
    kind: str
    first: int
    last: int
    sensor: int


@dataclass(frozen=True)
class Looked:
    """Flagged readings within spans; arrays of one entry a reading, the first of its span first.

    Args:
        blocks, verdicts: theirs.
        span: (n,) int, place in `spans`.
        since: (n,) int, readings since the span's first, this one included.
        spans: all that happened.
    """

    blocks: Blocks
    verdicts: Verdicts
    span: np.ndarray
    since: np.ndarray
    spans: list[Span]

    def of(self, span: int) -> Span:
        """The span of a reading."""
        return self.spans[int(self.span[span])]

    @property
    def first(self) -> np.ndarray:
        """(n,) bool, the first flagged reading of its span."""
        return np.append(True, self.span[1:] != self.span[:-1])


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.explanations", description=__doc__.splitlines()[0])
    parser.add_argument("--trees", type=int, default=TREES)
    trees = parser.parse_args(arguments).trees
    with threadpool_limits(1):
        for flavour, seed in SEEDS.items():
            plant, spans = with_faults(seed, flavour)
            model = fitted_to(plant, seed, trees)
            print(f"\n{flavour} plant, seed {seed}: one-sensor faults")
            faults = looked_at(model, plant, spans)
            for line in (*ranking(model.detector, faults), *hints(model.detector, faults, "sensor_fault")):
                print(line)
            print(_since(faults))
            print(_changes(model, plant, faults))
            for line in _costs(model.detector, faults):
                print(line)
            print(f"{flavour} plant, seed {seed}: disturbances of several sensors")
            plant, spans = with_disturbances(seed, flavour)
            disturbed = looked_at(model, plant, spans)
            for kind, hint in DISTURBANCES.items():
                rows = np.array([disturbed.of(row).kind == kind for row in range(len(disturbed.span))])
                print(hints(model.detector, _taken(disturbed, rows), hint)[0])
    return 0


def with_faults(seed: int, flavour: Flavour) -> tuple[Plant, list[Span]]:
    """The benchmark's plant, and which sensor each of its faults bends."""
    plant = faulty_plant(seed, flavour)
    values = plant.history.values.reshape(-1, STATIONS, len(DEFAULT_SENSORS))
    healthy = _healthy(_process(seed, flavour))
    bent = (values != healthy) & ~(np.isnan(values) & np.isnan(healthy))
    first, last = (
        ((edge - START_MS) // round(CADENCE * 1000)).tolist() for edge in (plant.labels.start_ms, plant.labels.end_ms)
    )
    spans = [
        Span(station, kind, start, end, int(bent[start:end, station].sum(axis=0).argmax()))
        for station, kind, start, end in zip(plant.labels.station.tolist(), plant.labels.kind, first, last, strict=True)
    ]
    return plant, spans


def with_disturbances(seed: int, flavour: Flavour) -> tuple[Plant, list[Span]]:
    """The same stations, healthy, but air or machines move several sensors at once."""
    process, rng = _process(seed, flavour), np.random.default_rng([seed, 9])
    values, spans = _healthy(process), []
    for station in range(STATIONS):
        start = TRAINING_DAYS * _PER_DAY + int(rng.integers(*_PAUSE))
        while True:
            length = int(_LENGTHS[0] * (_LENGTHS[1] / _LENGTHS[0]) ** rng.random())
            if start + length + _PAUSE[0] > len(values):
                break
            kind = str(rng.choice(list(DISTURBANCES)))
            _disturb(values[start : start + length, station], process, station, kind, rng)
            spans.append(Span(station, kind, start, start + length, -1))
            start += length + int(rng.integers(*_PAUSE))
    plant = faulty_plant(seed, flavour)
    return replace(plant, history=replace(plant.history, values=values.reshape(len(plant.history), -1))), spans


def _disturb(values: np.ndarray, process: StationProcess, station: int, kind: str, rng: np.random.Generator) -> None:
    """Move the sensors of a stretch as their profiles say, the one that follows most by the drawn size."""
    share = np.array([getattr(profile_of(sensor), kind) for sensor in DEFAULT_SENSORS])
    load = np.sign(share) * np.sqrt(np.abs(share))
    load /= np.abs(load).max()
    place = np.arange(len(values))
    shape = np.minimum(1.0, np.minimum(place + 1, len(values) - place) / _RAMP)
    size = rng.choice(_SIZES) * rng.choice([-1.0, 1.0]) * process.sigma[station] * load
    one = process.one_station(station)
    for sensor, described in enumerate(DEFAULT_SENSORS):
        values[:, sensor] = one.report(values[:, sensor] + size[sensor] * shape, sensor, described.hard)


def fitted_to(plant: Plant, seed: int, trees: int) -> Model:
    """The model that the plant's training days teach."""
    rows = np.flatnonzero(plant.training)
    return fitted(chosen(plant.history, rows), plant.sensors, budget=1.0, trees=trees, seed=seed)


def looked_at(model: Model, plant: Plant, spans: list[Span], each: int = _EACH) -> Looked:
    """Judge a plant and take, of each span, the first flagged reading and some of the others."""
    blocks = ShardState(plant.sensors, model.prior).take(plant.history).blocks
    verdicts = model.detector.judge(blocks)
    flagged = verdicts.is_anomaly.reshape(-1, STATIONS)
    rows, span, since = [], [], []
    for number, one in enumerate(spans):
        found = np.flatnonzero(flagged[one.first : one.last, one.station])
        for place in found[:: max(1, len(found) // each)].tolist():
            rows.append((one.first + place) * STATIONS + one.station)
            span.append(number)
            since.append(place + 1)
    chosen_rows = np.array(rows, np.int64)
    return Looked(
        blocks.take(chosen_rows), _verdicts(verdicts, chosen_rows), np.array(span, np.int64), np.array(since), spans
    )


def ranking(detector: Detector, looked: Looked) -> list[str]:
    """Whether the bent sensor comes first, per sensor, and whether exact Shapley values agree."""
    shares, exact = contributions(detector, looked.blocks), shap_values(detector, looked.blocks)
    bent = np.array([looked.of(row).sensor for row in range(len(looked.span))])
    right, first = shares.argmax(axis=1) == bent, looked.first
    lines = [
        f"  {sensor.name} first when bent: {right[first & (bent == number)].mean():.3f} of "
        f"{int((first & (bent == number)).sum())} faults, {right[bent == number].mean():.3f} of "
        f"{int((bent == number).sum())} readings"
        for number, sensor in enumerate(DEFAULT_SENSORS)
    ]
    agree = (shares.argmax(axis=1) == exact.argmax(axis=1)).mean()
    positive = np.maximum(exact, 0.0)
    apart = np.abs(shares - positive / np.maximum(positive.sum(axis=1, keepdims=True), 1e-12)).max(axis=1)
    return [*lines, f"  first sensor as by exact Shapley values: {agree:.3f}; shares apart by {apart.mean():.3f}"]


def hints(detector: Detector, looked: Looked, right: str) -> list[str]:
    """How often the hint is the right one, per kind, at the first flagged reading and at all."""
    said = np.array([_told(document)["cause"]["hint"] for document in _documents(detector, looked)])
    kinds = np.array([looked.of(row).kind for row in range(len(said))])
    lines = []
    for kind in (*(name for name in (*KINDS, *DISTURBANCES) if name in kinds), "all"):
        rows = (kinds == kind) | (kind == "all")
        first = rows & looked.first
        others = ", ".join(f"{hint} {int((said[rows] == hint).sum())}" for hint in sorted(set(said[rows]) - {right}))
        lines.append(
            f"  {kind}: {right} at {(said[first] == right).mean():.3f} of {int(first.sum())} beginnings, "
            f"{(said[rows] == right).mean():.3f} of {int(rows.sum())} readings" + (f" ({others})" if others else "")
        )
    return lines


def _since(looked: Looked) -> str:
    """Whether "for at least n readings" is true."""
    least = np.array([at_least(float(lasting)) for lasting in looked.blocks.common("lasting")])
    told = least >= 5
    true = _mean((least <= looked.since)[told])
    return f'  "for at least n readings" is said at {told.mean():.2f} of readings and true at {true:.3f} of these'


def _changes(model: Model, plant: Plant, looked: Looked) -> str:
    """Take flagged readings again with their smallest change: the state is that of the station before the reading."""
    changes = smallest_change(model.detector, looked.blocks, DEFAULT_SENSORS)
    rows = np.flatnonzero([change is not None and change.change is not None for change in changes])
    holds = []
    for row in np.random.default_rng(1).permutation(rows)[:_CHANGED].tolist():
        span, change = looked.of(row), changes[row]
        if change is not None:
            holds.append(not _flagged_with(model, plant, span.station, span.first + int(looked.since[row]) - 1, change))
    known, normal = len(rows) / len(changes), _mean(np.array(holds))
    return (
        f"  smallest change known for {known:.2f} of readings; {normal:.2f} of {len(holds)} are normal when taken again"
    )


def _flagged_with(model: Model, plant: Plant, station: int, tick: int, change: Change) -> bool:
    rows = np.arange(station, (tick + 1) * STATIONS, STATIONS)
    history = chosen(plant.history, rows)
    history.values[-1, [sensor.name for sensor in DEFAULT_SENSORS].index(change.sensor)] = change.normal
    blocks = ShardState(plant.sensors, model.prior).take(history).blocks
    return bool(model.detector.judge(blocks.take(np.array([len(blocks) - 1]))).is_anomaly[0])


def _costs(detector: Detector, looked: Looked) -> list[str]:
    lines = []
    for n in (1, 5, 50, 500):
        some = _taken(looked, np.arange(len(looked.span)) < n)
        spent = _cpu(lambda some=some: _documents(detector, some)) / len(some.span)  # type: ignore[misc]
        lines.append(f"  explaining {len(some.span)} at once: {1e6 * spent:.0f} µs of CPU each")
    some = _taken(looked, np.arange(len(looked.span)) < 50)
    exact = _cpu(lambda: shap_values(detector, some.blocks)) / len(some.span)
    change = _cpu(lambda: smallest_change(detector, some.blocks, DEFAULT_SENSORS)) / len(some.span)
    return [*lines, f"  exact SHAP values {1e6 * exact:.0f} µs, smallest change {1e6 * change:.0f} µs"]


def _cpu(call: Callable[[], object]) -> float:
    """Least CPU time of some calls, s."""
    spent = []
    for _ in range(7):
        began = time.process_time()
        call()
        spent.append(time.process_time() - began)
    return min(spent)


def _documents(detector: Detector, looked: Looked) -> list[bytes]:
    return verdict_documents(detector, looked.blocks, looked.verdicts, DEFAULT_SENSORS)


def _told(document: bytes) -> dict:
    return msgspec.json.decode(document)


def _verdicts(verdicts: Verdicts, rows: np.ndarray) -> Verdicts:
    return Verdicts(verdicts.score[rows], verdicts.severity[rows], verdicts.flags[rows], verdicts.forest[rows])


def _taken(looked: Looked, rows: np.ndarray) -> Looked:
    return Looked(
        looked.blocks.take(rows), _verdicts(looked.verdicts, rows), looked.span[rows], looked.since[rows], looked.spans
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _process(seed: int, flavour: Flavour) -> StationProcess:
    return StationProcess(seed, range(STATIONS), DEFAULT_SENSORS, CADENCE, flavour)


def _healthy(process: StationProcess) -> np.ndarray:
    return process.block(round(START_MS / 1000.0 / CADENCE), DAYS * _PER_DAY)


if __name__ == "__main__":
    raise SystemExit(main())
