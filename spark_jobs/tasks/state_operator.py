"""The one stateful operator, keyed by shard: parse, validate, keep state, say what is known of each reading.

It knows no model. Its Python function is pickled once, at the start of the query; what it is given must not change.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql.streaming.state import GroupState

from core.reading import Validator
from core.sensors import Sensor
from models.kernels.state_kernel import ACCEPTED as WAS_ACCEPTED
from models.kernels.state_kernel import CONFLICT, DUPLICATE, FLUSHED, MINUTE_MS
from models.scoring.batch_parser import Read, read_all
from models.scoring.shard_state import CLOCK, ORDINAL, RECORD, Incoming, Minutes, ShardState, Step
from models.scoring.station_prior import Prior
from spark_jobs.tasks.packing import ACCEPTED, MINUTES, REJECTED, STATIONS, ShardOutput, packed_floats

STATE_SCHEMA = "state binary"
STATION_ROW_PAUSE_MS = 10_000
# A station's statistics are ten times as large as its row, and change little within a minute.
STATISTICS_PAUSE_MS = 60_000
_FAR_FUTURE_MS = 2**62

Operator = Callable[[tuple[int], Iterator[pd.DataFrame], GroupState], Iterator[pd.DataFrame]]


@dataclass(frozen=True)
class Records:
    """Kafka records of one shard in Kafka order; arrays (n,), key and value `pa.large_binary()`."""

    partition: np.ndarray
    offset: np.ndarray
    record_ms: np.ndarray
    key: pa.Array
    value: pa.Array


def state_operator(sensors: tuple[Sensor, ...], prior: Prior) -> Operator:
    """Return the function for `applyInPandasWithState`: one packed row out per shard and batch."""
    validator = Validator(sensors)

    def take(key: tuple[int], frames: Iterator[pd.DataFrame], state: GroupState) -> Iterator[pd.DataFrame]:
        began = time.perf_counter()
        records = in_kafka_order(frames)
        shard = ShardState.from_bytes(state.get[0], sensors, prior) if state.exists else ShardState(sensors, prior)
        loaded = time.perf_counter()
        newest_ms = int(records.record_ms.max()) if len(records.offset) else 0
        behind_ms = max(0, int(time.time() * 1000) - newest_ms)
        output = take_records(shard, validator, records, flush=state.hasTimedOut, behind_ms=behind_ms)
        state.update((shard.to_bytes(),))
        if shard.unflushed():
            state.setTimeoutDuration(STATION_ROW_PAUSE_MS)
        output.seconds[0] = loaded - began
        yield pd.DataFrame({name: [value] for name, value in output.pack(key[0]).items()})

    return take


def in_kafka_order(frames: Iterator[pd.DataFrame]) -> Records:
    """Join a group's frames and order its records by partition and offset: a shuffle keeps no order."""
    parts = list(frames)
    if not parts:
        nothing = np.zeros(0, np.int64)
        return Records(nothing.astype(np.int32), nothing, nothing, binary([]), binary([]))
    frame = parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)
    partition, offset = frame["partition"].to_numpy(np.int32), frame["offset"].to_numpy(np.int64)
    order = np.lexsort((offset, partition))
    return Records(
        partition[order],
        offset[order],
        frame["record_ms"].to_numpy(np.int64)[order],
        binary(frame["key"].to_numpy(object)[order]),
        binary(frame["value"].to_numpy(object)[order]),
    )


def binary(values: Sequence[object] | np.ndarray) -> pa.Array:
    """Return keys or values as `Records` holds them."""
    return pa.array(values, pa.large_binary())


def take_records(
    shard: ShardState, validator: Validator, records: Records, *, flush: bool, behind_ms: int = 0
) -> ShardOutput:
    """Validate records, move the shard's state by the readings among them, and say what became of each record.

    Args:
        shard: moved in place.
        validator: of the shard's sensors.
        records: in Kafka order.
        flush: write every station row that is not up to date, however young the last one is.
        behind_ms: how old the newest record is. Station rows follow each other at half of it: a stream that catches up
            by an hour writes a handful of rows per station, each at most half again as old as the stream itself.
    """
    began = time.perf_counter()
    read = read_all(validator, records.key, records.value, records.record_ms)
    parsed = time.perf_counter()
    incoming = Incoming(
        read.station_ids, read.event_ms, np.ascontiguousarray(records.record_ms[read.places]), read.seq, read.values
    )
    taken = shard.take(incoming)
    kept = np.flatnonzero(taken.outcome == WAS_ACCEPTED)
    stepped = time.perf_counter()
    accepted = _accepted(shard, records, read, taken, kept)
    now_ms = int(records.record_ms.max()) if len(records.offset) else None
    # The oldest accepted reading: what a dead letter or another partition claims of the time frees nothing.
    forgotten = shard.forget(int(incoming.record_ms[kept].min()) if len(kept) else 0)
    output = ShardOutput(
        blocks=taken.blocks if len(kept) == len(taken.outcome) else taken.blocks.take(kept),
        measured=read.values[kept],
        accepted=accepted,
        rejected=_rejected(records, sorted(read.rejected + _conflicts(read, taken))),
        minutes=_minutes(taken.closed) if not len(forgotten.minute) else _joined(taken.closed, forgotten),
        stations=_stations(shard, now_ms, max(STATION_ROW_PAUSE_MS, behind_ms // 2), flush=flush),
        counts=np.array(
            [
                len(records.offset),
                len(kept),
                int((taken.outcome == DUPLICATE).sum()),
                int(taken.late[kept].sum()),
                int(taken.minute_closed[kept].sum()),
            ],
            np.int64,
        ),
    )
    output.seconds[1:] = parsed - began, stepped - parsed, time.perf_counter() - stepped
    return output


def _conflicts(read: Read, taken: Step) -> list[tuple[int, str, str]]:
    found = []
    for row in np.flatnonzero(taken.outcome == CONFLICT).tolist():
        identity = read.station_ids[row], int(read.event_ms[row]), int(read.seq[row])
        found.append((int(read.places[row]), "id_conflict", f"{identity} was already taken with other values"))
    return found


def _accepted(shard: ShardState, records: Records, read: Read, taken: Step, kept: np.ndarray) -> pa.Table:
    if not len(kept):
        return ACCEPTED.empty_table()
    stations, codes = np.unique(taken.station[kept], return_inverse=True)
    names = pa.array([shard.ids[row] for row in stations.tolist()], pa.string())
    places = read.places[kept]
    columns = [
        pa.DictionaryArray.from_arrays(codes.astype(np.int32), names),
        records.partition[places],
        records.offset[places],
        records.record_ms[places],
        read.event_ms[kept],
        read.seq[kept],
        taken.ordinal[kept],
    ]
    return pa.table(columns, schema=ACCEPTED)


def _rejected(records: Records, rejected: list[tuple[int, str, str]]) -> pa.Table:
    if not rejected:
        return REJECTED.empty_table()
    rows = [
        {
            "partition": int(records.partition[place]),
            "offset": int(records.offset[place]),
            "record_ms": int(records.record_ms[place]),
            "key": records.key[place].as_py(),
            "value": records.value[place].as_py(),
            "reason": reason,
            # Arrow takes no lone surrogates, which a detail may quote.
            "detail": detail.encode("utf-8", "backslashreplace").decode(),
        }
        for place, reason, detail in rejected
    ]
    return pa.Table.from_pylist(rows, schema=REJECTED)


def _joined(closed: Minutes, forgotten: Minutes) -> pa.Table:
    return pa.concat_tables([_minutes(closed), _minutes(forgotten)])


def _minutes(minutes: Minutes) -> pa.Table:
    if not len(minutes.minute):
        return MINUTES.empty_table()
    columns = [
        pa.array(minutes.station_ids, pa.string()),
        minutes.minute * MINUTE_MS,
        minutes.readings,
        pa.array(packed_floats(minutes.stats, "<f8"), pa.binary()),
    ]
    return pa.table(columns, schema=MINUTES)


def _stations(shard: ShardState, now_ms: int | None, pause_ms: int, *, flush: bool) -> pa.Table:
    """Station rows that are due, with their open minutes and their own statistics."""
    now_ms = _FAR_FUTURE_MS if flush or now_ms is None else now_ms
    due = shard.due(now_ms, pause_ms)
    if not len(due):
        return STATIONS.empty_table()
    open_by_station: dict[str, list[dict[str, object]]] = {}
    for row in _minutes(shard.open_minutes(due)).to_pylist():
        open_by_station.setdefault(row.pop("station_id"), []).append(row)
    ids = [shard.ids[row] for row in due.tolist()]
    flushed, seen = shard.column(FLUSHED, due), shard.column(RECORD, due)
    # Where a batch ends decides when, but at each minute's turn and at rest they are written.
    stale = np.full(len(due), flush) | (flushed // STATISTICS_PAUSE_MS != seen // STATISTICS_PAUSE_MS)
    columns = [
        pa.array(ids, pa.string()),
        shard.column(CLOCK, due),
        seen,
        shard.column(ORDINAL, due),
        shard.cadences(due),
        pa.array(packed_floats(shard.last_values(due), "<f4"), pa.binary()),
        pa.array([open_by_station.get(station_id, []) for station_id in ids], STATIONS.field("open_minutes").type),
        pa.array(
            [shard.one_station_bytes(row) if old else None for row, old in zip(due.tolist(), stale, strict=True)],
            pa.binary(),
        ),
    ]
    shard.flushed(due)
    return pa.table(columns, schema=STATIONS)
