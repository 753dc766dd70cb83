"""From judged readings to rows of Cassandra. Every row is an idempotent upsert, so a batch may run twice."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
import pyarrow as pa

from models.detection.block import pack_row
from models.detection.kernel import BAND, CLOSED_COLUMNS, MINUTE_MS, identity_hashes
from models.detection.sensors import Sensor
from spark_jobs.packing import floats
from storage.anomalies import AnomalyRow, write_anomalies
from storage.minutes import MinuteRow, SensorMinute, write_minutes
from storage.readings import ReadingRow, write_readings
from storage.samples import SampleRow, write_samples
from storage.session import connected
from storage.stations import StationRow, write_stations
from storage.statistics import StatisticsRow, write_statistics

if TYPE_CHECKING:
    from spark_jobs.scoring import Judged, Sinks

log = logging.getLogger(__name__)


def write_output(judged: Judged, sensors: tuple[Sensor, ...], sinks: Sinks, now_ms: int) -> None:
    """Write everything that a task's readings leave behind, the anomaly tables after the readings they follow from.

    Args:
        judged: the task's readings with their verdicts.
        sensors: the stream's catalogue.
        sinks: where to write.
        now_ms: scored time, ms since the epoch.

    Raises:
        StoreUnavailable: Cassandra was away longer than `sinks.deadline_seconds`.
    """
    deadline = sinks.deadline_seconds
    store = connected(sinks.store, deadline, _say_waiting)
    names = tuple(sensor.name for sensor in sensors)
    columns = Columns(judged, names, now_ms)
    write_readings(store, columns.readings(sinks.readings_share), deadline, _say_waiting)
    write_minutes(store, _minute_rows(judged.output.minutes, names), deadline, _say_waiting)
    write_stations(store, _station_rows(judged.output.stations, names), deadline, _say_waiting)
    write_statistics(store, _statistics_rows(judged.output.stations), deadline, _say_waiting)
    write_samples(store, columns.samples(sinks.samples_per_minute), deadline, _say_waiting)
    write_anomalies(store, columns.anomalies(), deadline, _say_waiting)


def _say_waiting(problem: Exception, pause_seconds: float) -> None:
    log.warning("a task waits %.1f s and writes again: %s", pause_seconds, problem)


class Columns:
    """The accepted readings of a task as Python columns, read once for all tables."""

    def __init__(self, judged: Judged, names: tuple[str, ...], now_ms: int) -> None:
        accepted = judged.output.accepted
        self._judged = judged
        self._now_ms = now_ms
        self._station = accepted["station_id"].to_pylist()
        self._event_ms = accepted["event_ms"].to_pylist()
        self._seq = accepted["seq"].to_pylist()
        self._record_ms = accepted["record_ms"].to_pylist()
        self._partition = accepted["partition"].to_pylist()
        self._offset = accepted["offset"].to_pylist()
        self._ordinal = accepted["ordinal"].to_pylist()
        self._sensors = _value_maps(floats(accepted["values"], len(names), "<f8"), names)
        self._score = judged.verdicts.score.tolist()
        self._severity = judged.verdicts.severity.tolist()
        self._flags = judged.verdicts.flags.tolist()
        self._version = judged.versions.tolist()

    def readings(self, share: float) -> Iterator[ReadingRow]:
        """Yield the readings of the stations that are kept: the first `share` of the ids by hash."""
        below = share * 2**32
        for row, station in enumerate(self._station):
            if share >= 1.0 or crc32(station.encode()) < below:
                yield ReadingRow(
                    station, self._event_ms[row], self._seq[row], self._sensors[row], self._score[row],
                    self._severity[row], self._flags[row], self._version[row], self._partition[row],
                    self._offset[row], self._record_ms[row], self._now_ms,
                )  # fmt: skip

    def anomalies(self) -> Iterator[AnomalyRow]:
        """Yield the flagged readings, each with its block and its explanation."""
        blocks = self._judged.output.blocks
        stored_ms = int(time.time() * 1000)
        for row, document in self._judged.documents.items():
            yield AnomalyRow(
                self._station[row], self._event_ms[row], self._seq[row], self._sensors[row], self._score[row],
                self._severity[row], self._flags[row], document.decode(), self._ordinal[row], pack_row(blocks, row),
                self._version[row], self._partition[row], self._offset[row], self._record_ms[row], self._now_ms,
                stored_ms,
            )  # fmt: skip

    def samples(self, slots: int) -> Iterator[SampleRow]:
        """Yield one contender for each slot of each minute: the reading with the largest hash of its identity.

        The table lets the largest rank ever written win, so neither load, order nor replay changes what it holds.
        """
        hashes = self._hashes()
        slot, rank = hashes % np.uint64(slots), (hashes >> np.uint64(1)) | np.uint64(1)
        minute = np.array(self._event_ms, np.int64) // MINUTE_MS
        order = np.lexsort((rank, slot, minute))
        last = np.ones(len(order), bool)
        last[:-1] = (np.diff(minute[order]) != 0) | (np.diff(slot[order].astype(np.int64)) != 0)
        for row in order[last].tolist():
            yield SampleRow(
                self._event_ms[row], int(slot[row]), int(rank[row]), self._station[row], self._seq[row],
                pack_row(self._judged.output.blocks, row), self._ordinal[row], self._score[row], self._flags[row],
                self._version[row],
            )  # fmt: skip

    def _hashes(self) -> np.ndarray:
        stations = {station: crc32(station.encode()) for station in set(self._station)}
        salt = np.array([stations[station] for station in self._station], np.int64)
        out = np.empty(len(salt), np.uint64)
        identity_hashes(np.array(self._event_ms, np.int64), np.array(self._seq, np.int64) ^ (salt << 24), out)
        return out


def _value_maps(values: np.ndarray, names: Sequence[str]) -> list[dict[str, float]]:
    """Map sensor names to values, leaving out what is missing. Exactly as sent: a recomputation starts from these."""
    if not np.isnan(values).any():
        return [dict(zip(names, row, strict=True)) for row in values.tolist()]
    # A missing value is NaN, the one number that does not equal itself.
    return [{name: value for name, value in zip(names, row, strict=True) if value == value} for row in values.tolist()]


def _minute_rows(minutes: pa.Table, names: Sequence[str]) -> Iterator[MinuteRow]:
    for row in minutes.to_pylist():
        yield MinuteRow(row["station_id"], row["minute"], _sensor_minutes(row["stats"], names), row["readings"])


def _station_rows(stations: pa.Table, names: Sequence[str]) -> Iterator[StationRow]:
    for row in stations.to_pylist():
        open_minutes = {held["minute"]: _sensor_minutes(held["stats"], names) for held in row["open_minutes"]}
        last = _value_maps(_shortest(np.frombuffer(row["last_values"], "<f4"))[np.newaxis], names)[0]
        yield StationRow(
            row["station_id"], row["clock_ms"], row["record_ms"], row["readings"], row["interval"] or None, last,
            open_minutes,
        )  # fmt: skip


def _statistics_rows(stations: pa.Table) -> Iterator[StatisticsRow]:
    for row in stations.select(["station_id", "state", "record_ms"]).to_pylist():
        yield StatisticsRow(row["station_id"], row["state"], row["record_ms"])


def _sensor_minutes(stats: bytes, names: Sequence[str]) -> dict[str, SensorMinute]:
    held: dict[str, SensorMinute] = {}
    rows = np.frombuffer(stats, "<f8").reshape(len(names), CLOSED_COLUMNS + BAND).tolist()
    for name, (mean, least, most, count, *band) in zip(names, rows, strict=True):
        if count:
            known: list[Any] = [edge if np.isfinite(edge) else None for edge in band]
            held[name] = SensorMinute(least, mean, most, int(count), *known)
    return held


def _shortest(values: np.ndarray) -> np.ndarray:
    """Turn float32 into the float64 with the same shortest decimal: 21.4, not 21.399999618530273."""
    return np.array([float(str(value)) for value in values])
