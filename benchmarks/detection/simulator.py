"""Simulated plants with faults, and what a detector finds of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from benchmarks.detection.detectors import Judge
from core.sensors import DEFAULT_SENSORS, Sensor
from iot_simulator.faults_at_rate import LENGTHS
from iot_simulator.process import Flavour, StationProcess
from models.evaluation.evaluation import MARGIN, Labels, Outcome, evaluate
from models.evaluation.fault_models import KINDS, bend_series
from models.evaluation.scored_rows import Scored
from models.scoring.history import History

STATIONS, DAYS, TRAINING_DAYS, CADENCE = 20, 10, 3, 60.0
MAGNITUDES = (2.0, 3.0, 4.0, 6.0, 10.0)
SIZELESS = frozenset({"stuck", "dropout"})
START_MS = 1_767_571_200_000  # a Monday, 2026-01-05T00:00Z
# Readings between two faults of a station: the margin behind a fault is 60, so at least three clean hours follow it.
_PAUSE = (240, 480)
CURVE = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)  # false alarms per station and day


@dataclass(frozen=True)
class Plant:
    """Readings of a plant, tick by tick, and its faults; station codes are indices of stations.

    Args:
        history: all readings.
        training: (n,) bool.
        labels: the faults.
        sensors: the catalogue.
        cadence: s.
    """

    history: History
    training: np.ndarray
    labels: Labels
    sensors: tuple[Sensor, ...]
    cadence: float


def healthy_plant(
    seed: int, flavour: Flavour, *, stations: int, ticks: int, training_ticks: int, cadence: float
) -> Plant:
    """Simulate a plant without faults."""
    process = StationProcess(seed, range(stations), DEFAULT_SENSORS, cadence, flavour)
    values = process.block(_first_tick(cadence), ticks)
    return _plant(values, no_labels(), training_ticks, cadence)


def faulty_plant(seed: int, flavour: Flavour) -> Plant:
    """Simulate 20 stations for 10 days at a reading a minute; behind the training days each has some 23 faults."""
    process = StationProcess(seed, range(STATIONS), DEFAULT_SENSORS, CADENCE, flavour)
    per_day = int(86_400 / CADENCE)
    ticks, training_ticks = DAYS * per_day, TRAINING_DAYS * per_day
    values = process.block(_first_tick(CADENCE), ticks)
    rng = np.random.default_rng([seed, 5])
    found: list[tuple[int, str, float, int, int]] = []
    deck: list[tuple[str, float]] = []
    for station in range(STATIONS):
        start = training_ticks + int(rng.integers(*_PAUSE))
        while True:
            if not deck:
                deck = [(kind, size) for kind in KINDS for size in MAGNITUDES]
                rng.shuffle(deck)
            kind, size = deck.pop()
            length = _length(kind, rng)
            if start + length + _PAUSE[0] > ticks:
                deck.append((kind, size))
                break
            _break(values, process, station, kind, size, start, length, rng)
            found.append((station, kind, size, start, start + length))
            start += length + int(rng.integers(*_PAUSE))
    codes, kinds, sizes, starts, ends = zip(*found, strict=True)
    sizeless = np.array([kind in SIZELESS for kind in kinds])
    labels = Labels(
        station=np.array(codes),
        kind=kinds,
        magnitude=np.where(sizeless, np.nan, np.array(sizes)),
        start_ms=START_MS + np.array(starts) * int(CADENCE * 1000),
        end_ms=START_MS + np.array(ends) * int(CADENCE * 1000),
    )
    return _plant(values, labels, training_ticks, CADENCE)


@dataclass(frozen=True)
class Simulated:
    """What a detector said of several plants, taken together."""

    scored: Scored
    labels: Labels

    def evaluated(self, *, margin: int = MARGIN, episodes_allowed: float = 1.0, cadence: float = CADENCE) -> Outcome:
        """Hold it against the faults; arguments as those of `evaluate`."""
        return evaluate(self.scored, self.labels, margin=margin, episodes_allowed=episodes_allowed, cadence=cadence)


def evaluate_simulator(
    detector: Judge, flavour: Flavour, seeds: Sequence[int], *, budget: float = 1.0, margin: int = MARGIN
) -> dict[str, Any]:
    """Return what a detector finds on plants of these seeds, taken together; see `as_table`."""
    return as_table(simulated(detector, flavour, seeds, budget=budget).evaluated(margin=margin))


def simulated(detector: Judge, flavour: Flavour, seeds: Sequence[int], *, budget: float = 1.0) -> Simulated:
    """Let a detector judge one plant per seed."""
    return joined([judged_plant(detector, faulty_plant(seed, flavour), budget, seed) for seed in seeds])


def trade_off(plants: Simulated, allowed: Sequence[float] = CURVE) -> dict[str, float]:
    """Return the recall of the score alone at so many false alarms per station and day."""
    return {f"{number:g}": float(plants.evaluated(episodes_allowed=number).found_by_score.mean()) for number in allowed}


def judged_plant(detector: Judge, plant: Plant, budget: float, seed: int) -> Simulated:
    """Let a detector judge a plant."""
    score, flagged = detector(plant.history, plant.training, plant.sensors, budget, seed)
    codes = plant.history.codes()
    return Simulated(Scored(codes, plant.history.event_ms, score, flagged, ~plant.training), plant.labels)


def joined(plants: Sequence[Simulated]) -> Simulated:
    """Put plants side by side: the stations of each are other ones."""
    offsets = STATIONS * np.arange(len(plants))
    scored = [replace(one.scored, station=one.scored.station + at) for one, at in zip(plants, offsets, strict=True)]
    labels = [replace(one.labels, station=one.labels.station + at) for one, at in zip(plants, offsets, strict=True)]
    columns = {field.name: np.concatenate([getattr(one, field.name) for one in scored]) for field in fields(Scored)}
    numbers = ("station", "magnitude", "start_ms", "end_ms")
    arrays = {name: np.concatenate([getattr(one, name) for one in labels]) for name in numbers}
    return Simulated(Scored(**columns), Labels(kind=[kind for one in labels for kind in one.kind], **arrays))


def as_table(outcome: Outcome) -> dict[str, Any]:
    """Turn an outcome into plain numbers: `whole`, `false_alarms`, `kinds` and `cells` (kind -> magnitude -> ...)."""
    kinds = {kind: outcome.summary(kind) for kind in KINDS}
    cells = {
        kind: {f"{size:g}": outcome.summary(kind, size) for size in MAGNITUDES}
        for kind in KINDS
        if kind not in SIZELESS
    }
    return {
        "whole": outcome.summary() | {"auc": outcome.auc},
        "false_alarms": {
            "per_station_day": outcome.false_alarms_per_day,
            "station_days": outcome.station_days,
            "clean_flagged": outcome.clean_flagged,
            "aftermath_alarms": outcome.aftermath_alarms,
            "aftermath_flagged": outcome.aftermath_flagged,
        },
        "kinds": kinds,
        "cells": cells,
    }


def no_labels() -> Labels:
    """No faults at all."""
    none = np.zeros(0, dtype=np.int64)
    return Labels(none, [], np.zeros(0), none, none)


def _length(kind: str, rng: np.random.Generator) -> int:
    """Log-uniform, as in the live simulator."""
    shortest, longest = LENGTHS[kind]
    return int(shortest * ((longest + 1) / shortest) ** rng.random())


def _break(
    values: np.ndarray,
    process: StationProcess,
    station: int,
    kind: str,
    size: float,
    start: int,
    length: int,
    rng: np.random.Generator,
) -> None:
    """Bend one sensor, drawn, of a station in place."""
    sensor = int(rng.integers(values.shape[2]))
    stretch = values[start : start + length, station]
    sigma = float(process.sigma[station, sensor])
    bent = bend_series(stretch, sensor=sensor, kind=kind, start=0, length=length, magnitude=size, sigma=sigma, rng=rng)
    one = process.one_station(station)
    stretch[:, sensor] = one.report(bent[:, sensor], sensor, process.sensors[sensor].hard)


def _plant(values: np.ndarray, labels: Labels, training_ticks: int, cadence: float) -> Plant:
    ticks, stations, n_sensors = values.shape
    tick = np.repeat(np.arange(ticks), stations)
    event_ms = START_MS + np.round(tick * (cadence * 1000.0)).astype(np.int64)
    names = [f"station-{station:04d}" for station in range(stations)] * ticks
    history = History(names, event_ms, event_ms, tick, values.reshape(-1, n_sensors))
    return Plant(history, tick < training_ticks, labels, DEFAULT_SENSORS, cadence)


def _first_tick(cadence: float) -> int:
    return round(START_MS / 1000.0 / cadence)
