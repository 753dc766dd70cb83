"""Build the rows of Cassandra from judged readings. Nothing is written here; see `scoring_stage.write_output`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa

from models.kernels.state_kernel import BAND, CLOSED_COLUMNS, MINUTE_MS
from models.scoring.feature_block import pack_row
from spark_jobs.tasks.judged import Judged
from spark_jobs.tasks.sampler import reading_hashes, slots_and_ranks, winners
from storage.tables.anomalies import AnomalyRow
from storage.tables.feature_samples import SampleRow
from storage.tables.minutes import MinuteColumns, MinuteRow, SensorMinute
from storage.tables.readings import ReadingColumns, ReadingRow
from storage.tables.stations import StationRow
from storage.tables.statistics import StatisticsRow


class ReadingRows:
    """The accepted readings of a task, for the tables that hold them."""

    def __init__(self, judged: Judged, names: tuple[str, ...], now_ms: int) -> None:
        accepted = judged.output.accepted
        self._judged = judged
        self._names = names
        self._now_ms = now_ms
        station = accepted["station_id"].combine_chunks()
        self._station_ids = station.dictionary.to_pylist()
        self._station = station.indices.to_numpy()
        self._event_ms = accepted["event_ms"].to_numpy()
        self._seq = accepted["seq"].to_numpy()
        self._record_ms = accepted["record_ms"].to_numpy()
        self._partition = accepted["partition"].to_numpy()
        self._offset = accepted["offset"].to_numpy()
        self._ordinal = accepted["ordinal"].to_numpy()
        self._values = judged.output.measured

    def of_stations_kept(self, share: float) -> tuple[np.ndarray, np.ndarray]:
        """Choose the readings of the stations that are kept: the first `share` of the ids by hash.

        Returns:
            Rows with a value of every sensor, and rows that lack one.
        """
        below = share * 2**32
        chosen = np.array([share >= 1.0 or crc32(name.encode()) < below for name in self._station_ids], bool)
        kept = chosen[self._station] if len(self._station) else np.zeros(0, bool)
        whole = ~np.isnan(self._values).any(axis=1)
        return np.flatnonzero(kept & whole), np.flatnonzero(kept & ~whole)

    def as_columns(self, rows: np.ndarray) -> ReadingColumns:
        """Return readings that lack no value as columns."""
        verdicts = self._judged.verdicts
        return ReadingColumns(
            self._station_ids, self._station[rows], self._event_ms[rows], self._seq[rows], self._names,
            self._values[rows], verdicts.score[rows], verdicts.severity[rows], verdicts.flags[rows],
            self._judged.versions[rows], self._partition[rows], self._offset[rows], self._record_ms[rows],
            self._now_ms,
        )  # fmt: skip

    def readings(self, rows: np.ndarray) -> Iterator[ReadingRow]:
        """Yield readings one by one."""
        verdicts, sensors = self._judged.verdicts, _value_maps(self._values[rows], self._names)
        for row, measured in zip(rows.tolist(), sensors, strict=True):
            yield ReadingRow(
                self._id(row), int(self._event_ms[row]), int(self._seq[row]), measured, float(verdicts.score[row]),
                float(verdicts.severity[row]), int(verdicts.flags[row]), int(self._judged.versions[row]),
                int(self._partition[row]), int(self._offset[row]), int(self._record_ms[row]), self._now_ms,
            )  # fmt: skip

    def _id(self, row: int) -> str:
        return self._station_ids[self._station[row]]

    def anomalies(self) -> Iterator[AnomalyRow]:
        """Yield the flagged readings, each with its block and its explanation."""
        blocks, documents = self._judged.output.blocks, self._judged.documents
        stored_ms = int(time.time() * 1000)
        rows = np.array(list(documents), np.int64)
        for row, reading, document in zip(documents, self.readings(rows), documents.values(), strict=True):
            yield AnomalyRow(
                reading.station_id, reading.event_ms, reading.seq, reading.sensors, reading.score, reading.severity,
                reading.flags, document.decode(), int(self._ordinal[row]), pack_row(blocks, row),
                reading.model_version, reading.kafka_partition, reading.kafka_offset, reading.record_ms,
                reading.scored_ms, stored_ms,
            )  # fmt: skip

    def samples(self, slots: int) -> Iterator[SampleRow]:
        """Yield one contender for each slot of each minute: the reading with the largest hash of its identity.

        The table lets the largest rank ever written win, so neither load, order nor replay changes what it holds.
        """
        slot, rank = slots_and_ranks(reading_hashes(self._station_ids, self._station, self._event_ms, self._seq), slots)
        verdicts = self._judged.verdicts
        for row in winners(rank, self._event_ms // MINUTE_MS, slot).tolist():
            yield SampleRow(
                int(self._event_ms[row]), int(slot[row]), int(rank[row]), self._id(row), int(self._seq[row]),
                pack_row(self._judged.output.blocks, row), int(self._ordinal[row]), float(verdicts.score[row]),
                int(verdicts.flags[row]), int(self._judged.versions[row]),
            )  # fmt: skip


def _value_maps(values: np.ndarray, names: Sequence[str]) -> list[dict[str, float]]:
    """Map sensor names to values, leaving out what is missing. Exactly as sent: a recomputation starts from these."""
    if not np.isnan(values).any():
        return [dict(zip(names, row, strict=True)) for row in values.tolist()]
    # A missing value is NaN, the one number that does not equal itself.
    return [{name: value for name, value in zip(names, row, strict=True) if value == value} for row in values.tolist()]


class ClosedMinutes:
    """The minutes that closed in a task, for the table that holds them."""

    def __init__(self, minutes: pa.Table, names: tuple[str, ...]) -> None:
        self._minutes, self._names = minutes, names
        stats = np.frombuffer(b"".join(minutes["stats"].to_pylist()), "<f8")
        self._stats = stats.reshape(len(minutes), len(names), CLOSED_COLUMNS + BAND)
        counted, band = self._stats[:, :, CLOSED_COLUMNS - 1] > 0, np.isfinite(self._stats[:, :, CLOSED_COLUMNS:])
        self._whole = counted.all(axis=1) & band.all(axis=(1, 2))

    def as_columns(self) -> MinuteColumns:
        """Return the minutes in which every sensor has readings and a known band."""
        rows = np.flatnonzero(self._whole)
        station = self._minutes["station_id"].take(pa.array(rows)).combine_chunks().dictionary_encode()
        mean, least, most, count = (self._stats[rows, :, column] for column in range(CLOSED_COLUMNS))
        return MinuteColumns(
            station.dictionary.to_pylist(), station.indices.to_numpy(), self._minutes["minute"].to_numpy()[rows],
            self._minutes["readings"].to_numpy()[rows], self._names, least, mean, most, count,
            self._stats[rows, :, CLOSED_COLUMNS:],
        )  # fmt: skip

    def incomplete(self) -> Iterator[MinuteRow]:
        """Yield the other minutes, row by row."""
        for row in self._minutes.filter(pa.array(~self._whole)).to_pylist():
            sensors = _sensor_minutes(row["stats"], self._names)
            yield MinuteRow(row["station_id"], row["minute"], sensors, row["readings"])


def station_rows(stations: pa.Table, names: Sequence[str]) -> Iterator[StationRow]:
    """Yield the row of each station that the state operator reported, with its open minutes."""
    for row in stations.to_pylist():
        open_minutes = {held["minute"]: _sensor_minutes(held["stats"], names) for held in row["open_minutes"]}
        last = _value_maps(_shortest(np.frombuffer(row["last_values"], "<f4"))[np.newaxis], names)[0]
        yield StationRow(
            row["station_id"], row["clock_ms"], row["record_ms"], row["readings"], row["interval"] or None, last,
            open_minutes,
        )  # fmt: skip


def statistics_rows(stations: pa.Table) -> Iterator[StatisticsRow]:
    """Yield the statistics that were sent along: not with every station row."""
    for row in stations.select(["station_id", "state", "record_ms"]).to_pylist():
        if row["state"] is not None:
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
