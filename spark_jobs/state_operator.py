"""The one stateful operator, keyed by shard: parse, validate, keep state, say what is known of each reading.

It knows no model. Its Python function is pickled once, at the start of the query; what it is given must not change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql.streaming.state import GroupState

from models.detection.errors import InvalidReading
from models.detection.kernel import ACCEPTED as WAS_ACCEPTED
from models.detection.kernel import CONFLICT, DUPLICATE, MINUTE_MS
from models.detection.prior import Prior
from models.detection.reading import Reading, Validator
from models.detection.sensors import Sensor
from models.detection.state import CLOCK, ORDINAL, RECORD, Incoming, Minutes, ShardState, Step
from spark_jobs.packing import ACCEPTED, MINUTES, REJECTED, STATIONS, ShardOutput, packed_floats

STATE_SCHEMA = "state binary"
STATION_ROW_PAUSE_MS = 10_000
_FAR_FUTURE_MS = 2**62

Operator = Callable[[tuple[int], Iterator[pd.DataFrame], GroupState], Iterator[pd.DataFrame]]


@dataclass(frozen=True)
class Records:
    """Kafka records of one shard in Kafka order; arrays (n,) and lists of n."""

    partition: np.ndarray
    offset: np.ndarray
    record_ms: np.ndarray
    key: list[bytes | None]
    value: list[bytes | None]


def state_operator(sensors: tuple[Sensor, ...], prior: Prior) -> Operator:
    """Return the function for `applyInPandasWithState`: one packed row out per shard and batch."""
    validator = Validator(sensors)

    def take(key: tuple[int], frames: Iterator[pd.DataFrame], state: GroupState) -> Iterator[pd.DataFrame]:
        shard = ShardState.from_bytes(state.get[0], sensors, prior) if state.exists else ShardState(sensors, prior)
        output = take_records(shard, validator, in_kafka_order(frames), flush=state.hasTimedOut)
        state.update((shard.to_bytes(),))
        if shard.unflushed():
            state.setTimeoutDuration(STATION_ROW_PAUSE_MS)
        yield pd.DataFrame({name: [value] for name, value in output.pack(key[0]).items()})

    return take


def in_kafka_order(frames: Iterator[pd.DataFrame]) -> Records:
    """Join a group's frames and order its records by partition and offset: a shuffle keeps no order."""
    parts = list(frames)
    if not parts:
        nothing = np.zeros(0, np.int64)
        return Records(nothing.astype(np.int32), nothing, nothing, [], [])
    frame = parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)
    partition, offset = frame["partition"].to_numpy(np.int32), frame["offset"].to_numpy(np.int64)
    order = np.lexsort((offset, partition))
    keys, values = frame["key"].to_numpy(object), frame["value"].to_numpy(object)
    return Records(
        partition[order],
        offset[order],
        frame["record_ms"].to_numpy(np.int64)[order],
        keys[order].tolist(),
        values[order].tolist(),
    )


def take_records(shard: ShardState, validator: Validator, records: Records, *, flush: bool) -> ShardOutput:
    """Validate records, move the shard's state by the readings among them, and say what became of each record.

    Args:
        shard: moved in place.
        validator: of the shard's sensors.
        records: in Kafka order.
        flush: write every station row that is not up to date, however young the last one is.
    """
    readings, places, rejected = _validate(validator, records)
    incoming = _incoming(readings, records.record_ms[places], len(validator.sensors))
    taken = shard.take(incoming)
    for row in np.flatnonzero(taken.outcome == CONFLICT).tolist():
        rejected.append((places[row], "id_conflict", f"{readings[row][:3]} was already taken with other values"))
    kept = np.flatnonzero(taken.outcome == WAS_ACCEPTED)
    now_ms = int(records.record_ms.max()) if len(records.offset) else None
    # The oldest accepted reading: what a dead letter or another partition claims of the time frees nothing.
    forgotten = shard.forget(int(incoming.record_ms[kept].min()) if len(kept) else 0)
    return ShardOutput(
        blocks=taken.blocks.take(kept),
        accepted=_accepted(records, places, incoming, taken, kept),
        rejected=_rejected(records, sorted(rejected)),
        minutes=pa.concat_tables([_minutes(taken.closed), _minutes(forgotten)]),
        stations=_stations(shard, now_ms, flush=flush),
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


def _validate(validator: Validator, records: Records) -> tuple[list[Reading], np.ndarray, list[tuple[int, str, str]]]:
    readings: list[Reading] = []
    places: list[int] = []
    rejected: list[tuple[int, str, str]] = []
    validate = validator.validate
    rows = zip(records.key, records.value, records.record_ms.tolist(), strict=True)
    for place, (key, value, record_ms) in enumerate(rows):
        try:
            readings.append(validate(key, value, record_ms))
            places.append(place)
        except InvalidReading as problem:  # noqa: PERF203 - a bad record costs itself only
            rejected.append((place, problem.reason, problem.detail))
    return readings, np.array(places, np.int64), rejected


def _incoming(readings: list[Reading], record_ms: np.ndarray, n_sensors: int) -> Incoming:
    ids, event_ms, seq, values = zip(*readings, strict=True) if readings else ((), (), (), ())
    return Incoming(
        station_ids=ids,
        event_ms=np.array(event_ms, np.int64),
        record_ms=np.ascontiguousarray(record_ms),
        seq=np.array(seq, np.int64),
        values=np.array(values, np.float64).reshape(len(readings), n_sensors),
    )


def _accepted(records: Records, places: np.ndarray, incoming: Incoming, taken: Step, kept: np.ndarray) -> pa.Table:
    ids = pa.array([incoming.station_ids[row] for row in kept.tolist()], pa.string()).dictionary_encode()
    columns = [
        ids,
        records.partition[places[kept]],
        records.offset[places[kept]],
        incoming.record_ms[kept],
        incoming.event_ms[kept],
        incoming.seq[kept],
        taken.ordinal[kept],
        pa.array(packed_floats(incoming.values[kept], "<f8"), pa.binary()),
    ]
    return pa.table(columns, schema=ACCEPTED)


def _rejected(records: Records, rejected: list[tuple[int, str, str]]) -> pa.Table:
    rows = [
        {
            "partition": int(records.partition[place]),
            "offset": int(records.offset[place]),
            "record_ms": int(records.record_ms[place]),
            "key": records.key[place],
            "value": records.value[place],
            "reason": reason,
            # Arrow takes no lone surrogates, which a detail may quote.
            "detail": detail.encode("utf-8", "backslashreplace").decode(),
        }
        for place, reason, detail in rejected
    ]
    return pa.Table.from_pylist(rows, schema=REJECTED)


def _minutes(minutes: Minutes) -> pa.Table:
    columns = [
        pa.array(minutes.station_ids, pa.string()),
        minutes.minute * MINUTE_MS,
        minutes.readings,
        pa.array(packed_floats(minutes.stats, "<f8"), pa.binary()),
    ]
    return pa.table(columns, schema=MINUTES)


def _stations(shard: ShardState, now_ms: int | None, *, flush: bool) -> pa.Table:
    """Station rows that are due, with their open minutes and their own statistics."""
    now_ms = _FAR_FUTURE_MS if flush or now_ms is None else now_ms
    due = shard.due(now_ms, STATION_ROW_PAUSE_MS)
    open_by_station: dict[str, list[dict[str, object]]] = {}
    for row in _minutes(shard.open_minutes(due)).to_pylist():
        open_by_station.setdefault(row.pop("station_id"), []).append(row)
    ids = [shard.ids[row] for row in due.tolist()]
    columns = [
        pa.array(ids, pa.string()),
        shard.column(CLOCK, due),
        shard.column(RECORD, due),
        shard.column(ORDINAL, due),
        shard.cadences(due),
        pa.array(packed_floats(shard.last_values(due), "<f4"), pa.binary()),
        pa.array([open_by_station.get(station_id, []) for station_id in ids], STATIONS.field("open_minutes").type),
        pa.array([shard.one_station_bytes(row) for row in due.tolist()], pa.binary()),
    ]
    shard.flushed(due)
    return pa.table(columns, schema=STATIONS)
