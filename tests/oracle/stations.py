"""What becomes of each valid reading: accepted, duplicate or conflict; late; and the minute it counts in.

Written from design.md 2.3 and 5, one station after another in Kafka order, with nothing packed or clever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from tests.oracle.validator import Dead, Parsed, SensorBounds, validate

RING = 32
AHEAD_OF_BROKER_MS = 30_000
FORGET_AFTER_MS = 7 * 24 * 3600 * 1000
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
OPEN_MINUTES = 3


class TopicRow(NamedTuple):
    """One entry of a Kafka topic, as an independent consumer read it. `record_ms` is its Kafka timestamp."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    record_ms: int
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True)
class Decision:
    """What must become of one entry of the readings topic.

    Args:
        row: the entry.
        fate: `accepted` is stored; `duplicate` is counted only; `dead` goes to the dead letters.
        reasons: of a dead letter; the product may name any of them.
        reading: None where the value is no reading at all.
        late: an accepted reading at or before its station's clock.
        minute_ms: start of the minute an accepted reading counts in, ms; None when that minute is closed.
    """

    row: TopicRow
    fate: Literal["accepted", "duplicate", "dead"]
    reasons: frozenset[str] = frozenset()
    reading: Parsed | None = None
    late: bool = False
    minute_ms: int | None = None

    @property
    def identity(self) -> tuple[str, int, int] | None:
        """(station_id, event_ms, seq)."""
        return None if self.reading is None else self.reading[:3]


@dataclass
class SensorMinute:
    """One sensor's minute: the values that were there."""

    values: list[float] = field(default_factory=list)


@dataclass
class Minute:
    """One station's minute. `sensors` follow the catalogue."""

    readings: int
    sensors: list[SensorMinute]


@dataclass
class StationMemory:
    """What a station remembers between two readings."""

    clock_ms: int | None = None
    last_record_ms: int | None = None
    ring: deque[Parsed] = field(default_factory=lambda: deque(maxlen=RING))
    open_minutes: dict[int, Minute] = field(default_factory=dict)


@dataclass
class Expected:
    """What the oracle expects of a topic.

    Args:
        decisions: one per entry, in (partition, offset) order.
        closed: (station_id, minute start ms) → that minute, once closed.
        memories: station_id → its memory at the end; its minutes are still open.
    """

    decisions: list[Decision]
    closed: dict[tuple[str, int], Minute]
    memories: dict[str, StationMemory]

    def of(self, fate: str) -> list[Decision]:
        """Decisions of one fate."""
        return [decision for decision in self.decisions if decision.fate == fate]

    def stored(self) -> dict[tuple[str, int, int], Decision]:
        """Identity → the accepted decision whose row is stored: the last one, should it be accepted twice."""
        return {decision.identity: decision for decision in self.of("accepted") if decision.identity}


def expect(rows: Iterable[TopicRow], sensors: Sequence[SensorBounds]) -> Expected:
    """Decide every entry of a topic.

    Args:
        rows: the whole topic, any order.
        sensors: the configured sensors.
    """
    expected = Expected([], {}, {})
    for row in sorted(rows, key=lambda row: (row.partition, row.offset)):
        expected.decisions.append(_decide(row, sensors, expected))
    return expected


def classify(rows: Iterable[TopicRow], sensors: Sequence[SensorBounds]) -> list[Decision]:
    """Decide every entry of a topic; see `expect`."""
    return expect(rows, sensors).decisions


def _decide(row: TopicRow, sensors: Sequence[SensorBounds], expected: Expected) -> Decision:
    outcome = validate(row.key, row.value, row.record_ms, sensors)
    if isinstance(outcome, Dead):
        return Decision(row, "dead", outcome.reasons)
    memory = expected.memories.setdefault(outcome.station_id, StationMemory())
    if memory.last_record_ms is not None and row.record_ms - memory.last_record_ms > FORGET_AFTER_MS:
        expected.closed.update(_close(outcome.station_id, memory, None))
        memory = expected.memories[outcome.station_id] = StationMemory()
    twin = next((held for held in memory.ring if held[:3] == outcome[:3]), None)
    if twin is not None and twin.values == outcome.values:
        return Decision(row, "duplicate", reading=outcome)
    if twin is not None:
        return Decision(row, "dead", frozenset({"id_conflict"}), outcome)
    return _accept(row, outcome, memory, expected)


def _accept(row: TopicRow, reading: Parsed, memory: StationMemory, expected: Expected) -> Decision:
    late = memory.clock_ms is not None and reading.event_ms <= memory.clock_ms
    bounded = min(reading.event_ms, row.record_ms + AHEAD_OF_BROKER_MS)
    memory.clock_ms = bounded if memory.clock_ms is None else max(memory.clock_ms, bounded)
    # Record times run backwards where producers set them; the station was heard of at the latest one.
    memory.last_record_ms = max(row.record_ms, memory.last_record_ms or row.record_ms)
    memory.ring.append(reading)
    current = memory.clock_ms // MINUTE_MS
    expected.closed.update(_close(reading.station_id, memory, current))
    minute = min(reading.event_ms, memory.clock_ms) // MINUTE_MS
    if minute <= current - OPEN_MINUTES:
        return Decision(row, "accepted", reading=reading, late=late)
    _count(memory.open_minutes, minute, reading)
    return Decision(row, "accepted", reading=reading, late=late, minute_ms=minute * MINUTE_MS)


def _close(station_id: str, memory: StationMemory, current: int | None) -> Iterator[tuple[tuple[str, int], Minute]]:
    """Yield the minutes that close when the clock stands in minute `current`; all of them when it is None."""
    for minute in sorted(memory.open_minutes):
        if current is None or current >= minute + OPEN_MINUTES:
            yield (station_id, minute * MINUTE_MS), memory.open_minutes.pop(minute)


def _count(open_minutes: dict[int, Minute], minute: int, reading: Parsed) -> None:
    counted = open_minutes.setdefault(minute, Minute(0, [SensorMinute() for _ in reading.values]))
    counted.readings += 1
    for sensor, value in zip(counted.sensors, reading.values, strict=True):
        if value is not None:
            sensor.values.append(value)
