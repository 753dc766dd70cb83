"""Replay: publishes recorded readings as if their stations were sending them."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

from tqdm import tqdm

from core.errors import SettingsError
from iot_simulator.encode import encode_reading
from iot_simulator.publisher import Publisher
from iot_simulator.recorded import Recorded
from iot_simulator.units import from_milliseconds

log = logging.getLogger(__name__)

# The stream refuses readings that lie further behind the time of their arrival; an hour is left for slow publishing.
OLDEST_SECONDS = 30 * 86_400.0 - 3600.0


@dataclass(frozen=True)
class Timetable:
    """When each reading is sent, and what its event time becomes.

    Gaps between readings stay as recorded: all event times move by one shift. Faster than real time (speed >= 1) the
    shift puts the last reading at the moment it is sent, so that the earlier ones lie behind theirs; slower than real
    time it puts the first one there. So none lies in the future.

    Args:
        start: epoch seconds at which the first reading is sent.
        first: recorded event time of the first reading, epoch seconds.
        last: recorded event time of the last.
        speed: recorded seconds per second; infinite = as fast as possible.
    """

    start: float
    first: float
    last: float
    speed: float

    @property
    def shift(self) -> float:
        """Seconds added to every recorded event time."""
        return min(self.start - self.first, self.due(self.last) - self.last)

    def due(self, recorded: float) -> float:
        """Epoch seconds at which a reading of that recorded time is sent."""
        return self.start + (recorded - self.first) / self.speed


def make_timetable(readings: list[Recorded], start: float, speed: float) -> Timetable:
    """Plan a replay of readings ordered by event time.

    Raises:
        SettingsError: the first reading would arrive more than 30 days old, and the stream refuses such readings.
    """
    table = Timetable(start, readings[0].event_ms / 1000, readings[-1].event_ms / 1000, speed)
    age = start - (table.first + table.shift)
    if age > OLDEST_SECONDS:
        raise SettingsError(
            f"the file spans {(table.last - table.first) / 86_400:.1f} days; at speed {speed:g} its first reading "
            f"would arrive {age / 86_400:.1f} days old, and the stream refuses more than 30: replay a part of it"
        )
    return table


def replay(
    readings: list[Recorded],
    table: Timetable,
    publisher: Publisher,
    topic: str,
    stop: threading.Event,
    now: Callable[[], float],
) -> None:
    """Publish readings by their timetable until the end or until `stop` is set."""
    shift_ms = math.floor(table.shift * 1000)
    for reading in tqdm(readings, desc="replay", unit="reading", disable=None):
        while (left := table.due(reading.event_ms / 1000) - now()) > 0 and not stop.wait(min(left, 1.0)):
            publisher.watch()
        event_time = from_milliseconds(reading.event_ms + shift_ms).isoformat(timespec="milliseconds")
        value = encode_reading(reading.station_id, event_time.replace("+00:00", "Z"), reading.seq, reading.values)
        if stop.is_set() or not publisher.publish(topic, reading.station_id.encode(), value):
            log.warning("stopped before the end of the file")
            return
