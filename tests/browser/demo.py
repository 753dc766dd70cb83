"""A plant to look at: what the stream would have stored of 25 stations, some with faults and one silent.

Written straight to Cassandra, in the shapes of `storage`, so that a picture takes seconds and shows every condition.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from core.sensors import DEFAULT_SENSORS
from core.verdict import Flag, score_of, severity_of
from iot_simulator.process import StationProcess
from storage.driver.session import Store
from storage.tables import artefacts, stream_progress
from storage.tables.anomalies import AnomalyRow, write_anomalies
from storage.tables.minutes import MinuteRow, SensorMinute, write_minutes
from storage.tables.readings import ReadingRow, write_readings
from storage.tables.stations import StationRow, write_stations
from tests.browser.documents import LIMIT, document

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
PARTITIONS = 4


@dataclass(frozen=True)
class Trouble:
    """A fault: what a sensor does between two moments before the demo's start, in seconds."""

    sensor: int
    size: float
    begun: int
    ended: int = 0
    ramp: bool = False
    kind: str = "shift"


TROUBLES: dict[int, list[Trouble]] = {
    3: [Trouble(0, 34.0, 14 * 60, -(10**6))],
    11: [Trouble(2, 15.0, 4 * 60, -(10**6), kind="burst")],
    21: [Trouble(1, -9.5, 26 * 60, -(10**6), ramp=True)],
    8: [Trouble(2, 7.4, 95, -(10**6))],
    7: [Trouble(0, 14.0, 55 * 60, 46 * 60)],
    14: [Trouble(1, -22.0, 12 * 60, 12 * 60 - 1)],
    19: [Trouble(0, 8.0, 31 * 60, 28 * 60), Trouble(2, 12.0, 9 * 60, 8 * 60 + 40)],
}
SILENT = {17: 23 * 60}
YOUNG = {24: 200}
YOUNG_INTERVAL = 20


@dataclass
class Demo:
    """Writes what was stored up to `now_ms`, and more with `advance`.

    Args:
        store: where to.
        topic: of the readings.
        now_ms: the moment of the picture, ms since the epoch.
        stations: how many.
        raw_minutes: how far back single readings go.
        healthy: without any fault.
    """

    store: Store
    topic: str
    now_ms: int
    stations: int = 25
    raw_minutes: int = 75
    healthy: bool = False
    _offsets: dict[int, Any] = field(default_factory=lambda: defaultdict(itertools.count))
    _lately: dict[int, Any] = field(default_factory=dict)
    _written_to: int = 0

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(4)
        self.process = StationProcess(7, range(self.stations), DEFAULT_SENSORS, 1.0)
        self.coarse = StationProcess(7, range(self.stations), DEFAULT_SENSORS, 60.0)
        self.spread = 0.75 * self.process.sigma
        self._written_to = self.now_ms - self.raw_minutes * MINUTE_MS

    def write(self, long_stations: tuple[int, ...] = (3,), days: int = 30) -> None:
        """Write the past: minutes, old episodes, the model, readings."""
        sha = artefacts.put_artefact(self.store, "detector", b"demo")
        for version in (6, 7):
            artefacts.put_version(self.store, "station-detector", version, sha, f"run-{version}", self.now_ms)
        self.write_minutes(1, range(self.stations))
        self.write_minutes(days, long_stations)
        self.write_old_episodes()
        self.advance(self.now_ms)

    def advance(self, now_ms: int) -> None:
        """Write readings up to `now_ms`, as the stream would, with its sign of life."""
        first, last = self._written_to // 1000, now_ms // 1000
        if last > first:
            values = self.process.block(first, last - first)
            typical = self.typical(first, last - first)
            for index in range(self.stations):
                self._write_station(index, first, values[:, index], typical[:, index])
            self._written_to = last * 1000
        stream_progress.mark_complete(self.store, self.topic, self.complete_to(), 7)
        self.beat(now_ms)

    def beat(self, now_ms: int) -> None:
        """A sign of life alone."""
        stream_progress.heartbeat(self.store, self.topic, now_ms)

    def strike(self, index: int, size: float, now_ms: int) -> AnomalyRow:
        """One abnormal reading of a station, `size` times beyond its limit, as if it were read at `now_ms`."""
        row = self._single(index, now_ms // 1000, 0, size)
        write_readings(
            self.store,
            [
                ReadingRow(
                    *row[:7], row.model_version, row.kafka_partition, row.kafka_offset, row.record_ms, row.scored_ms
                )
            ],
        )
        write_anomalies(self.store, [row])
        minute = {row.event_ms // MINUTE_MS * MINUTE_MS: self._minute(index, *self._held(row, index))}
        write_stations(self.store, [StationRow(row.station_id, now_ms, now_ms, row.ordinal, 1.0, row.sensors, minute)])
        stream_progress.mark_complete(self.store, self.topic, self.complete_to(), 7)
        return row

    def _held(self, row: AnomalyRow, index: int) -> tuple[np.ndarray, np.ndarray]:
        values = np.array([[row.sensors[sensor.name] for sensor in DEFAULT_SENSORS]])
        return values, self.process.nominal[index][np.newaxis]

    def complete_to(self) -> dict[int, int]:
        """The first offset that is not written, per partition."""
        return {number: next(self._offsets[number]) for number in range(PARTITIONS)}

    def typical(self, first: int, ticks: int) -> np.ndarray:
        """What is typical, (ticks, stations, sensors): the healthy minutes around, smoothed."""
        minutes = self.coarse.block(first // 60 - 30, ticks // 60 + 62)
        kernel = np.ones(31) / 31
        smooth = np.apply_along_axis(lambda column: np.convolve(column, kernel, "valid"), 0, minutes)
        at = np.clip((np.arange(ticks) + first % 60) / 60 + 15, 0, len(smooth) - 1)
        low = at.astype(int)
        part = (at - low)[:, None, None]
        return smooth[low] * (1 - part) + smooth[np.minimum(low + 1, len(smooth) - 1)] * part

    def bend(self, index: int, first: int, values: np.ndarray) -> tuple[np.ndarray, str]:
        """Apply the station's faults."""
        bent, kind = values.copy(), "shift"
        before = self.now_ms // 1000 - (first + np.arange(len(values)))
        for fault in [] if self.healthy else TROUBLES.get(index, []):
            on = (before <= fault.begun) & (before > fault.ended)
            size = fault.size * self.spread[index, fault.sensor]
            if fault.ramp:
                size = size * np.clip((fault.begun - before) / fault.begun, 0, 1)
            if fault.kind == "burst":
                size = size * self.rng.standard_normal(len(values))
            bent[:, fault.sensor] += np.where(on, size, 0.0)
            kind = fault.kind if on.any() else kind
        return np.round(bent, 1), kind

    def _write_station(self, index: int, first: int, values: np.ndarray, typical: np.ndarray) -> None:
        station = f"station-{index:04d}"
        ticks = first + np.arange(len(values))
        before = self.now_ms // 1000 - ticks
        kept = before > SILENT.get(index, -(10**9))
        if index in YOUNG:
            kept &= (before <= YOUNG[index]) & (ticks % YOUNG_INTERVAL == 0)
        if not kept.any():
            return
        values, typical, ticks = values[kept], typical[kept], ticks[kept]
        bent, kind = self.bend(index, int(ticks[0]), values)
        ratio = np.abs(bent - typical) / (LIMIT * self.spread[index])
        worst = ratio.max(axis=1)
        flagged = worst > 1
        score, severity = score_of(worst), severity_of(worst, flagged)
        readings, found = [], []
        ordinals = ticks - 1_794_000_000
        if index in YOUNG:
            ordinals = (ticks - self.now_ms // 1000 + YOUNG[index]) // YOUNG_INTERVAL + 1
        for row, tick in enumerate(ticks.tolist()):
            sensors = dict(zip((s.name for s in DEFAULT_SENSORS), bent[row].tolist(), strict=True))
            at, partition = tick * 1000, index % PARTITIONS
            offset = next(self._offsets[partition])
            flags = int(Flag.ANOMALY) if flagged[row] else 0
            judged = (float(score[row]), float(severity[row]), flags)
            readings.append(ReadingRow(station, at, tick, sensors, *judged, 7, partition, offset, at, at + 900))
            if flagged[row]:
                said = document(bent[row], typical[row], LIMIT * self.spread[index], kind)
                arrived = (7, partition, offset, at, at + 900, at + 1100)
                found.append(
                    AnomalyRow(station, at, tick, sensors, *judged, said, int(ordinals[row]), b"block", *arrived)
                )
        write_readings(self.store, readings)
        write_anomalies(self.store, found)
        self._write_lately(index, ticks, bent, typical, int(ordinals[-1]))

    def _write_lately(self, index: int, ticks: np.ndarray, bent: np.ndarray, typical: np.ndarray, ordinal: int) -> None:
        """Write the minutes that closed and the station's row, which holds the open ones."""
        station, held = f"station-{index:04d}", self._lately.get(index)
        if held is not None:
            ticks, bent, typical = (np.concatenate(pair) for pair in zip(held, (ticks, bent, typical), strict=True))
        minutes = np.unique(ticks // 60).tolist()
        rows = []
        for minute in minutes:
            here = ticks // 60 == minute
            rows.append(
                MinuteRow(station, minute * MINUTE_MS, self._minute(index, bent[here], typical[here]), int(here.sum()))
            )
        write_minutes(self.store, rows[:-3])
        sensors = dict(zip((s.name for s in DEFAULT_SENSORS), bent[-1].tolist(), strict=True))
        last_ms = int(ticks[-1]) * 1000
        interval = float(ticks[-1] - ticks[-2]) if len(ticks) > 1 else 1.0
        opened = {row.minute_ms: row.sensors for row in rows[-3:]}
        write_stations(self.store, [StationRow(station, last_ms, last_ms, ordinal, interval, sensors, opened)])
        kept = ticks // 60 > minutes[-1] - 3
        self._lately[index] = ticks[kept], bent[kept], typical[kept]

    def _minute(self, index: int, values: np.ndarray, typical: np.ndarray) -> dict[str, SensorMinute]:
        band = LIMIT * self.spread[index]
        return {
            sensor.name: SensorMinute(
                float(values[:, at].min()), float(values[:, at].mean()), float(values[:, at].max()), len(values),
                float(typical[0, at] - band[at]), float(typical[0, at]), float(typical[0, at] + band[at]),
            )
            for at, sensor in enumerate(DEFAULT_SENSORS)
        }  # fmt: skip

    def write_minutes(self, days: int, stations: Any) -> None:
        """Write minutes from `days` ago up to where single readings begin."""
        last = self._written_to // MINUTE_MS
        first = last - days * 1440
        for start in range(first, last, 1440):
            ticks = np.arange(start, min(start + 1440, last))
            values, typical = self.coarse.block(start, len(ticks)), self.typical(start * 60, len(ticks) * 60)[::60]
            for index in stations:
                if index in YOUNG:
                    continue
                rows = []
                noise = 1.6 * self.spread[index]
                for row, minute in enumerate(ticks.tolist()):
                    low, high = values[row, index] - noise, values[row, index] + noise
                    middle = (typical[row, index] + values[row, index]) / 2
                    held = {
                        sensor.name: SensorMinute(
                            low[at], middle[at], high[at], 60,
                            typical[row, index, at] - LIMIT * self.spread[index, at], typical[row, index, at],
                            typical[row, index, at] + LIMIT * self.spread[index, at],
                        )
                        for at, sensor in enumerate(DEFAULT_SENSORS)
                    }  # fmt: skip
                    rows.append(MinuteRow(f"station-{index:04d}", minute * MINUTE_MS, held, 60))
                write_minutes(self.store, rows)

    def write_old_episodes(self) -> None:
        """Write short episodes of the last hours, and a few of the last weeks for the station that is shown."""
        rows = []
        span = self._written_to - (self.now_ms - 12 * HOUR_MS)
        starts = [(int(self.rng.integers(0, self.stations - 1)), int(self.rng.integers(0, span))) for _ in range(46)]
        starts += [
            (int(self.rng.integers(0, self.stations - 1)), 3 * HOUR_MS + int(at)) for at in range(0, 10**6, 9**5)
        ]
        weeks = [(3, -int(self.rng.integers(0, 27 * DAY_MS))) for _ in range(14)]
        for index, offset in sorted(starts + weeks, key=lambda start: start[1]):
            at = (self.now_ms - 12 * HOUR_MS + offset) // 1000
            peak = float(np.exp(self.rng.normal(0.5, 0.45)) + 1)
            sensor, length = int(self.rng.integers(0, 3)), int(self.rng.integers(1, 60))
            sizes = np.maximum(1.02, peak * self.rng.uniform(0.6, 1, length)).tolist()
            rows += [self._single(index, at + row, sensor, size) for row, size in enumerate(sizes)]
        write_anomalies(self.store, rows)
        self._write_their_minutes([row for row in rows if row.station_id == "station-0003"])

    def _write_their_minutes(self, rows: list[AnomalyRow]) -> None:
        """Let the minutes of these anomalies hold them, for the long view of their station."""
        for minute in sorted({row.event_ms // MINUTE_MS for row in rows}):
            values = self.coarse.block(minute, 1)[:, 3]
            held = [
                [row.sensors[s.name] for s in DEFAULT_SENSORS] for row in rows if row.event_ms // MINUTE_MS == minute
            ]
            typical = self.typical(minute * 60, 60)[:1, 3]
            sensors = self._minute(3, np.concatenate([np.repeat(values, 60 - len(held), axis=0), held]), typical)
            write_minutes(self.store, [MinuteRow("station-0003", minute * MINUTE_MS, sensors, 60)])

    def _single(self, index: int, tick: int, sensor: int, size: float) -> AnomalyRow:
        typical = self.process.nominal[index]
        values = np.array(typical)
        values[sensor] += size * LIMIT * self.spread[index, sensor]
        band = LIMIT * self.spread[index]
        worst = np.array([(np.abs(values - typical) / band).max()])
        sensors = dict(zip((s.name for s in DEFAULT_SENSORS), np.round(values, 1).tolist(), strict=True))
        severity = float(severity_of(worst, worst > 1)[0])
        partition, at = index % PARTITIONS, tick * 1000
        return AnomalyRow(
            f"station-{index:04d}", at, tick, sensors, float(score_of(worst)[0]), severity, int(Flag.ANOMALY),
            document(np.round(values, 1), typical, band, "shift"), tick - 1_794_000_000, b"block", 6,
            partition, next(self._offsets[partition]), at, at + 900, at + 1100,
        )  # fmt: skip
