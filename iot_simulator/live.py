"""Stations in real time: an open loop that publishes each tick when it is due, whatever became of the last one."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable

from iot_simulator.encode import encode_label, encode_tick
from iot_simulator.fault_plan import FaultPlan
from iot_simulator.fault_schedule import station_id
from iot_simulator.process import StationProcess
from iot_simulator.publisher import Publisher
from iot_simulator.units import from_milliseconds, tick_milliseconds

log = logging.getLogger(__name__)

# A station remembers this much while it cannot send; what is older is skipped, and said so.
CATCH_UP_SECONDS = 600.0
# Behind by this much it says so.
LATE_SECONDS = 5.0


def first_tick_after(now: float, cadence: float) -> int:
    """Return the first tick that is not due yet at `now` (epoch seconds)."""
    return math.floor(now / cadence) + 1


class LiveStations:
    """Publishes a slice of stations, one reading per station and tick: `seq` is the tick, event time tick · cadence.

    Args:
        process: the healthy stations.
        plan: their faults.
        publisher: connected.
        readings_topic: where readings go.
        labels_topic: where the labels of faults go.
        now: epoch seconds.
    """

    def __init__(
        self,
        process: StationProcess,
        plan: FaultPlan,
        publisher: Publisher,
        *,
        readings_topic: str,
        labels_topic: str,
        now: Callable[[], float],
    ) -> None:
        self._process, self._plan, self._publisher, self._now = process, plan, publisher, now
        self._readings_topic, self._labels_topic = readings_topic, labels_topic
        self._ids = [station_id(int(index)) for index in process.stations]
        self._keys = [name.encode() for name in self._ids]
        self._names = [sensor.name for sensor in process.sensors]
        self._said_late = False
        self.behind_seconds = 0.0

    def run(self, first_tick: int, ticks: int | None, stop: threading.Event) -> None:
        """Publish from `first_tick` on, `ticks` of them or until `stop` is set."""
        tick, end = first_tick, None if ticks is None else first_tick + ticks
        while not stop.is_set() and (end is None or tick < end):
            self._wait_for(tick, stop)
            if stop.is_set():
                return
            tick = self._skip_too_old(tick)
            if end is not None and tick >= end or not self.publish_tick(tick):
                return
            self._publisher.watch()
            tick += 1

    def publish_tick(self, tick: int) -> bool:
        """Publish one tick of all stations, labels first. False when stopped in the middle of it."""
        values = self._process.block(tick, 1)
        for label in self._plan.apply(values, tick):
            if not self._publisher.publish(self._labels_topic, label.station_id.encode(), encode_label(label)):
                return False
        event_time = from_milliseconds(tick_milliseconds(tick, self._process.cadence))
        text = event_time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{event_time.microsecond // 1000:03d}Z"
        readings = encode_tick(self._ids, text, tick, self._names, values[0])
        return all(
            self._publisher.publish(self._readings_topic, key, reading)
            for key, reading in zip(self._keys, readings, strict=True)
        )

    def _wait_for(self, tick: int, stop: threading.Event) -> None:
        due = tick * self._process.cadence
        while (left := due - self._now()) > 0 and not stop.wait(min(left, 1.0)):
            self._publisher.watch()

    def _skip_too_old(self, tick: int) -> int:
        cadence = self._process.cadence
        behind = self._now() - tick * cadence
        self.behind_seconds = max(0.0, behind)
        late = behind > max(LATE_SECONDS, 2 * cadence)
        if late and not self._said_late:
            log.warning("%.0f s behind; publishing the %d missed ticks", behind, behind // cadence)
        elif self._said_late and not late:
            log.info("on time again")
        self._said_late = late
        if behind <= max(CATCH_UP_SECONDS, 2 * cadence):
            return tick
        skipped = math.floor((behind - CATCH_UP_SECONDS) / cadence)
        log.error("%.0f s behind: %d ticks of %d stations are skipped, not sent", behind, skipped, len(self._ids))
        return tick + skipped
