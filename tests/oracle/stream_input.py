"""A labelled run: what stations would send in some minutes, with every trouble that design.md 2.3 names."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from tests.oracle.bad_records import Fields, bad_record, draw_kinds, good_fields

SENSORS = ("temperature", "humidity", "noise")
CENTRE = np.array([22.0, 48.0, 61.0])
SPREAD = np.array([0.4, 0.8, 1.2])
REVERSION = 0.02  # a walk without it leaves every plausible range
RECENT = 24  # resends stay well within the 32 identities that a station holds
Identity = tuple[str, int, int]


@dataclass(frozen=True)
class Shape:
    """How much of what.

    Args:
        stations, ticks: a reading each, one tick a second.
        bad, duplicates, conflicts, late: shares of the readings; late ones are a station's own readings, held back.
        seed: of everything.
    """

    stations: int = 40
    ticks: int = 500
    bad: float = 0.05
    duplicates: float = 0.05
    conflicts: float = 0.005
    late: float = 0.02
    seed: int = 20261121


@dataclass(frozen=True)
class Planned:
    """One thing to send.

    Args:
        label: good, late, ahead, hours late, duplicate, conflict, or `bad: kind`.
        key, value: raw.
        identity: (station_id, event_ms, seq); None for bad values.
        reasons: of the expected dead letter; empty otherwise.
    """

    label: str
    key: bytes | None
    value: bytes | None
    identity: Identity | None = None
    reasons: frozenset[str] = frozenset()


@dataclass
class _Station:
    """What one station has sent of late, and what it holds back."""

    station_id: str
    recent: deque[Fields] = field(default_factory=lambda: deque(maxlen=RECENT))
    held_back: list[tuple[int, Fields]] = field(default_factory=list)


def plan(shape: Shape, now_ms: int) -> list[Planned]:
    """Lay out a run whose last tick is at `now_ms`, in sending order.

    The shares are of the readings and met on average; the bad values hold every kind where there are enough of them.
    """
    rng = np.random.default_rng(shape.seed)
    stations = [_Station(f"station-{number:04d}") for number in range(shape.stations)]
    values = walks(shape, rng)
    bad_kinds = iter(draw_kinds(rng, round(shape.bad * shape.stations * shape.ticks)))
    bad_at = set(
        rng.choice(
            shape.stations * shape.ticks, round(shape.bad * shape.stations * shape.ticks), replace=False
        ).tolist()
    )
    planned: list[Planned] = []
    for tick in range(shape.ticks):
        tick_ms = now_ms - (shape.ticks - 1 - tick) * 1000
        for number in rng.permutation(shape.stations).tolist():
            event_ms = tick_ms + int(rng.integers(0, 400))
            fields = good_fields(stations[number].station_id, event_ms, tick, _as_sent(values[number, tick]))
            planned += _turn(stations[number], fields, tick, shape, rng)
            if tick * shape.stations + number in bad_at:
                planned.append(_bad(next(bad_kinds), fields, rng))
    for station in stations:
        planned += [_good("late", fields) for _, fields in station.held_back]
    return planned


def walks(shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """Random walks that return to their centre, with faults: (stations, ticks, 3) float64, NaN is missing.

    Every fifth station has spikes of ten spreads; there are gaps, stuck stretches and values that are valid but not
    plausible, so that every rule has something to find.
    """
    n, ticks = shape.stations, shape.ticks
    centre = CENTRE + rng.normal(0, 2.0, (n, 3))
    level = np.zeros((n, 3))
    values = np.empty((n, ticks, 3))
    for tick in range(ticks):
        level += -REVERSION * level + rng.normal(0, 0.2, (n, 3)) * SPREAD
        values[:, tick] = centre + level + rng.normal(0, 0.3, (n, 3)) * SPREAD
    for number in range(0, n, 5):
        for tick in rng.choice(ticks, max(1, ticks // 80), replace=False):
            values[number, tick, rng.integers(3)] += rng.choice([-1, 1]) * 10 * SPREAD.max()
    values = values.round(1)
    values[rng.random(values.shape) < 0.004] = np.nan
    for number, (sensor, start, length) in enumerate(_stretches(rng, n, ticks)):
        if number % 4 == 1:
            values[number, start : start + length, sensor] = np.nan
        if number % 4 == 2:
            values[number, start : start + length, sensor] = values[number, max(0, start - 1), sensor]
    implausible = rng.random((n, ticks)) < 0.001
    values[implausible, 0] = 90.0
    return values


def _stretches(rng: np.random.Generator, n: int, ticks: int) -> Iterator[tuple[int, int, int]]:
    for _ in range(n):
        length = int(rng.integers(5, 80))
        yield int(rng.integers(3)), int(rng.integers(0, max(1, ticks - length))), length


def _turn(station: _Station, fields: Fields, tick: int, shape: Shape, rng: np.random.Generator) -> Iterator[Planned]:
    """What a station sends at one tick: its reading or an older one held back, and resends."""
    draw = rng.random()
    due = [held for held in station.held_back if held[0] <= tick]
    for held in due:
        station.held_back.remove(held)
        yield from _sent(station, "late", held[1])
    if draw < shape.late:
        label, fields = _troubled(fields, rng)
        if label == "late":
            station.held_back.append((tick + int(rng.integers(1, max(2, shape.ticks // 2))), fields))
        else:
            yield from _sent(station, label, fields)
    else:
        yield from _sent(station, "good", fields)
    if station.recent and rng.random() < shape.duplicates:
        yield _duplicate(station.recent[rng.integers(len(station.recent))], rng)
    if station.recent and rng.random() < shape.conflicts:
        fields = station.recent[rng.integers(len(station.recent))]
        yield _good("conflict", {**fields, "temperature": 33.3}, frozenset({"id_conflict"}))


def _troubled(fields: Fields, rng: np.random.Generator) -> tuple[str, Fields]:
    """Hold back, date hours back, or run ahead of the broker (which makes the station's next readings late)."""
    kind = str(rng.choice(["late", "hours late", "ahead"], p=[0.6, 0.35, 0.05]))
    if kind == "late":
        return kind, fields
    shift_ms = -int(rng.integers(1, 20)) * 3_600_000 if kind == "hours late" else int(rng.integers(35_000, 90_000))
    values = {name: fields[name] for name in SENSORS}
    event_ms = identity_of(fields)[1] + shift_ms
    return kind, good_fields(fields["station_id"], event_ms, fields["seq"], values)


def _sent(station: _Station, label: str, fields: Fields) -> Iterator[Planned]:
    station.recent.append(fields)
    yield _good(label, fields)


def _duplicate(fields: Fields, rng: np.random.Generator) -> Planned:
    """The same content again, sometimes written otherwise: other order, blanks, digits, fields that nobody knows."""
    text = json.dumps(fields)
    if rng.random() < 0.5:
        again = {"note": "resent", **{name: fields[name] for name in reversed(fields)}}
        text = json.dumps(again, indent=1).replace(".0,", ".00,")
    return Planned("duplicate", fields["station_id"].encode(), text.encode(), identity_of(fields))


def _good(label: str, fields: Fields, reasons: frozenset[str] = frozenset()) -> Planned:
    return Planned(label, fields["station_id"].encode(), json.dumps(fields).encode(), identity_of(fields), reasons)


def _bad(kind: str, fields: Fields, rng: np.random.Generator) -> Planned:
    bad = bad_record(kind, fields, rng)
    return Planned(f"bad: {kind}", bad.key, bad.value, None, bad.reasons)


def identity_of(fields: Fields) -> Identity:
    """(station_id, event_ms, seq) of a reading's fields."""
    return fields["station_id"], round(datetime.fromisoformat(fields["event_time"]).timestamp() * 1000), fields["seq"]


def _as_sent(values: np.ndarray) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else float(value) for name, value in zip(SENSORS, values, strict=True)}
