"""The stations of the recorded run: the simulator's own process and faults, sent at moments that end at the clock.

What the stations measure is fixed: always the same hours of the same simulated day, moved as a whole to the moment at
which a run begins. So every run stores the same verdicts, whenever it is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from kafka import KafkaProducer

from core.sensors import DEFAULT_SENSORS
from iot_simulator.encode import encode_tick
from iot_simulator.fault_plan import FaultPlan
from iot_simulator.fault_schedule import ScheduledFault, schedule, station_id
from iot_simulator.fault_table import joined
from iot_simulator.process import StationProcess
from models.scoring.history import History
from tests.oracle.bad_records import rfc3339

SEED = 7
FIRST_TICK = 1_767_600_000
"""The simulated second at which every run begins: a Monday, 2026-01-05T08:00Z."""

DAY_SECONDS = 86_400
FLUSH_SECONDS = 60
SENSORS = [sensor.name for sensor in DEFAULT_SENSORS]


class Timetable(NamedTuple):
    """When a station sends: every so many seconds of the run, from `begin` on and before `end`."""

    begin: int = 0
    end: int = 10**9
    every: int = 1

    def sends(self, second: int) -> bool:
        """Whether it sends in this second."""
        return self.begin <= second < self.end and (second - self.begin) % self.every == 0


class SimulatedPlant:
    """Stations that send a reading a second, unless a timetable of their own says otherwise.

    Args:
        stations: how many.
        seconds: length of the past, which can be sent at once.
        now_ms: end of the past, ms since the epoch.
        faults: of the past and of what follows it; offsets count from the beginning of the past.
        timetables: station → when it sends.
    """

    def __init__(
        self,
        stations: int,
        seconds: int,
        now_ms: int,
        faults: Sequence[ScheduledFault],
        timetables: Mapping[int, Timetable],
    ) -> None:
        self.ids = [station_id(index) for index in range(stations)]
        self.seconds, self.begin_ms = seconds, (now_ms // 1000 - seconds) * 1000
        self._process = StationProcess(SEED, range(stations), DEFAULT_SENSORS, 1.0)
        self._timetables = [timetables.get(index, Timetable()) for index in range(stations)]
        self._faults = schedule(self._process, faults, FIRST_TICK)
        self._plan = FaultPlan(self._process, 0.0, self._faults)

    def add_fault(self, fault: ScheduledFault) -> None:
        """Add a fault to the seconds that have not been sent yet."""
        self._faults = joined([self._faults, schedule(self._process, [fault], FIRST_TICK)])
        self._plan = FaultPlan(self._process, 0.0, self._faults)

    def second_of(self, at_ms: int) -> int:
        """The second of the run that a moment lies in."""
        return (at_ms - self.begin_ms) // 1000

    def count(self, begin: int, end: int) -> int:
        """How many readings are sent in the seconds [begin, end)."""
        return sum(timetable.sends(second) for timetable in self._timetables for second in range(begin, end))

    def records(self, begin: int, end: int) -> Iterator[tuple[bytes, bytes, int]]:
        """Yield key, value and record time (ms) of all readings of the seconds [begin, end), in order of time."""
        values = self._process.block(FIRST_TICK + begin, end - begin)
        self._plan.apply(values, FIRST_TICK + begin)
        for second, measured in zip(range(begin, end), values, strict=True):
            at_ms = self.begin_ms + 1000 * second
            encoded = encode_tick(self.ids, rfc3339(at_ms), FIRST_TICK + second, SENSORS, measured)
            for name, timetable, value in zip(self.ids, self._timetables, encoded, strict=True):
                if timetable.sends(second):
                    yield name.encode(), value, at_ms

    def healthy_day_before(self, seconds: int, ahead: int) -> History:
        """What the stations measured a day before, to train on.

        Args:
            seconds: how long.
            ahead: how far the end lies ahead of the clock of the day before: drift compares equal hours of the day.
        """
        # A process of its own: another thread asks the one of the run for the present meanwhile.
        process = StationProcess(SEED, range(len(self.ids)), DEFAULT_SENSORS, 1.0)
        values = process.block(FIRST_TICK - DAY_SECONDS, seconds).reshape(-1, len(SENSORS))
        seq = np.repeat(np.arange(seconds, dtype=np.int64), len(self.ids))
        end_ms = self.begin_ms + 1000 * (self.seconds + ahead - DAY_SECONDS)
        times = end_ms - 1000 * (seconds - seq)
        return History(self.ids * seconds, times, times, seq, values)


class Sender:
    """Publishes readings with the record times at which a broker would have stamped them.

    Args:
        kafka: client settings of kafka-python.
        topic: of the readings, whose records keep the producer's time.
    """

    def __init__(self, kafka: Mapping[str, Any], topic: str) -> None:
        self._topic = topic
        self._producer = KafkaProducer(**kafka, acks="all", linger_ms=5, batch_size=128 * 1024)

    def send(self, plant: SimulatedPlant, begin: int, end: int) -> None:
        """Publish the seconds [begin, end) and wait until Kafka has them."""
        for key, value, at_ms in plant.records(begin, end):
            self._producer.send(self._topic, key=key, value=value, timestamp_ms=at_ms)
        self._producer.flush(timeout=FLUSH_SECONDS)

    def close(self) -> None:
        """Close the client."""
        self._producer.close(timeout=10)
