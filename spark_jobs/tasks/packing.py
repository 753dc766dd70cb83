"""What travels from the state operator to the scoring stage: one packed row per shard and batch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from models.scoring.feature_block import Blocks, block_width

PACKED_SCHEMA = (
    "shard int, block binary, measured binary, accepted binary, rejected binary, minutes binary, stations binary, "
    "counts binary, seconds binary"
)

REJECTED = pa.schema(
    [
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("record_ms", pa.int64()),
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
_MINUTES = [("station_id", pa.string()), ("minute", pa.int64()), ("readings", pa.int64()), ("stats", pa.binary())]
MINUTES = pa.schema(_MINUTES)
STATIONS = pa.schema(
    [
        ("station_id", pa.string()),
        ("clock_ms", pa.int64()),
        ("record_ms", pa.int64()),
        ("readings", pa.int64()),
        ("interval", pa.float32()),
        ("last_values", pa.binary()),
        ("open_minutes", pa.list_(pa.struct(_MINUTES[1:]))),
        ("state", pa.binary()),
    ]
)
ACCEPTED = pa.schema(
    [
        ("station_id", pa.dictionary(pa.int32(), pa.string())),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("record_ms", pa.int64()),
        ("event_ms", pa.int64()),
        ("seq", pa.int64()),
        ("ordinal", pa.int64()),
    ]
)
COUNTS = ("consumed", "accepted", "duplicate", "late", "minute_closed")
STEPS = ("load", "parse", "state", "pack")


@dataclass(frozen=True)
class ShardOutput:
    """What one shard says of one batch. Tables follow the schemas above.

    Args:
        blocks: of the accepted readings.
        measured: (n, n_sensors) float64, their values as they were sent, NaN where missing.
        accepted: the rest of them, along `blocks`.
        rejected: records that are dead letters.
        minutes: that closed.
        stations: whose rows are due.
        counts: of `COUNTS`, (5,) int64.
        seconds: time spent on `STEPS`, (4,) float64 s.
    """

    blocks: Blocks
    measured: np.ndarray
    accepted: pa.Table
    rejected: pa.Table
    minutes: pa.Table
    stations: pa.Table
    counts: np.ndarray = field(default_factory=lambda: np.zeros(len(COUNTS), np.int64))
    seconds: np.ndarray = field(default_factory=lambda: np.zeros(len(STEPS)))

    def pack(self, shard: int) -> dict[str, object]:
        """Return the row that travels."""
        return {
            "shard": shard,
            "block": np.ascontiguousarray(self.blocks.rows, "<f4").tobytes(),
            "measured": np.ascontiguousarray(self.measured, "<f8").tobytes(),
            "accepted": _to_ipc(self.accepted),
            "rejected": _to_ipc(self.rejected),
            "minutes": _to_ipc(self.minutes),
            "stations": _to_ipc(self.stations),
            "counts": self.counts.tobytes(),
            "seconds": self.seconds.tobytes(),
        }


def unpack(packed: Iterable[pa.RecordBatch], sensors: tuple[str, ...]) -> ShardOutput:
    """Join the packed rows of a task: accepted readings and their blocks stay side by side.

    Args:
        packed: record batches of `PACKED_SCHEMA`.
        sensors: names of the stream's sensors.
    """
    batches = list(packed)
    rows = [row for batch in batches for row in batch.drop_columns(["block", "measured"]).to_pylist()]
    block = _numbers(batches, "block", "<f4").reshape(-1, block_width(len(sensors)))
    tables = {
        name: _joined([row[name] for row in rows], schema)
        for name, schema in (
            ("accepted", ACCEPTED),
            ("rejected", REJECTED),
            ("minutes", MINUTES),
            ("stations", STATIONS),
        )
    }
    measured = _numbers(batches, "measured", "<f8").reshape(-1, len(sensors))
    counts = sum((np.frombuffer(row["counts"], np.int64) for row in rows), np.zeros(len(COUNTS), np.int64))
    seconds = sum((np.frombuffer(row["seconds"]) for row in rows), np.zeros(len(STEPS)))
    return ShardOutput(Blocks(sensors, block), measured, **tables, counts=counts, seconds=seconds)


def _numbers(batches: list[pa.RecordBatch], column: str, dtype: str) -> np.ndarray:
    """Join a column's bytes as numbers; copied once, as they are most of what travels."""
    cells = [np.frombuffer(cell.as_buffer(), dtype) for batch in batches for cell in batch[column]]
    return np.concatenate(cells) if cells else np.zeros(0, dtype)


def packed_floats(rows: np.ndarray, dtype: str) -> list[bytes]:
    """Pack each row of an array, of any shape behind the first axis, into bytes."""
    return [row.tobytes() for row in np.ascontiguousarray(rows, dtype)]


def _to_ipc(table: pa.Table) -> bytes:
    if not table.num_rows:
        return b""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _joined(parts: list[bytes], schema: pa.Schema) -> pa.Table:
    tables = [pa.ipc.open_stream(part).read_all() for part in parts if part]
    return pa.concat_tables(tables).unify_dictionaries() if tables else schema.empty_table()
