"""The state of a shard: its stations' statistics in packed arrays, and the step that moves them.

State knows no model. Readings of a station are taken in Kafka order, so nothing depends on where batches were cut.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from core.errors import StateRefused
from core.sensors import Sensor
from models.kernels.state_kernel import (
    BAND,
    CLOCK,
    CLOSED_COLUMNS,
    FLUSHED,
    FREE_MS,
    N_LONGS,
    N_MINUTE,
    NO_MINUTE,
    OPEN_MINUTES,
    ORDINAL,
    RECORD,
    RING,
    Batch,
    StationArrays,
    close_until,
    content_hashes,
    identity_hashes,
    step,
)
from models.kernels.statistics_kernel import (
    CADENCE,
    COUNT,
    LAST,
    MATRIX,
    N_CROSSED,
    SENSOR_STATE,
    STATION_WIDTH,
    Pool,
    PriorArrays,
    Recipe,
    Statistics,
)
from models.scoring.feature_block import Blocks, block_width
from models.scoring.station_prior import Prior

LAYOUT = 3
_LENGTH = struct.Struct("<I")
_Parts = dict[str, np.ndarray]
# Field, dtype, shape of a station's row; `S` is a sensor axis, which a changed catalogue cuts and grows.
_FIELDS: tuple[tuple[str, str, tuple[object, ...]], ...] = (
    ("longs", "<i8", (N_LONGS,)),
    ("identities", "<u8", (RING,)),
    ("contents", "<u4", (RING,)),
    ("station", "<f4", (STATION_WIDTH,)),
    ("sensor", "<f4", ("S", SENSOR_STATE)),
    ("covariance", "<f4", (N_CROSSED, "S", "S")),
    ("minutes", "<i4", (OPEN_MINUTES,)),
    ("minute_readings", "<i4", (OPEN_MINUTES,)),
    ("minute_stats", "<f4", (OPEN_MINUTES, "S", N_MINUTE)),
    ("minute_rest", "<f4", (OPEN_MINUTES, "S")),
)


class _Header(msgspec.Struct):
    layout: int
    sensors: list[str]
    stations: int


@dataclass(frozen=True)
class Incoming:
    """Valid readings of one shard in Kafka order.

    Args:
        station_ids: (n,) ids.
        event_ms, record_ms, seq: (n,) int64.
        values: (n, n_sensors) float64 in the sensors' units, NaN where missing.
    """

    station_ids: Sequence[str]
    event_ms: np.ndarray
    record_ms: np.ndarray
    seq: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Minutes:
    """Roll-ups of minutes.

    Args:
        station_ids: (m,) ids.
        minute, readings: (m,) int64, minutes since the epoch and readings counted.
        stats: (m, n_sensors, 7) float64: mean, least, most, number of values, lower, typical, upper.
    """

    station_ids: list[str]
    minute: np.ndarray
    readings: np.ndarray
    stats: np.ndarray


@dataclass(frozen=True)
class Step:
    """What the state says about a batch of readings; arrays over the incoming rows.

    Args:
        outcome: (n,) uint8, ACCEPTED, DUPLICATE or CONFLICT. The other arrays mean nothing unless accepted.
        late, minute_closed: (n,) bool.
        ordinal: (n,) int64, the station's count of accepted readings, this one included.
        blocks: (n, width).
        closed: minutes that closed meanwhile.
        station: (n,) int32, rows of the stations in the shard; `ShardState.forget` may move them.
    """

    outcome: np.ndarray
    late: np.ndarray
    minute_closed: np.ndarray
    ordinal: np.ndarray
    blocks: Blocks
    closed: Minutes
    station: np.ndarray


class ShardState:
    """The stations of one shard."""

    def __init__(self, sensors: tuple[Sensor, ...], prior: Prior, recipe: Recipe | None = None) -> None:
        self.sensors = sensors
        self.names = tuple(sensor.name for sensor in sensors)
        self.ids: list[str] = []
        self._rows: dict[str, int] = {}
        self._prior = _prior_arrays(prior.for_sensors(self.names), sensors, recipe or Recipe())
        self._scratch = np.zeros((len(sensors), MATRIX + 2 * len(sensors)))
        self._parts = _empty(0, len(sensors))

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, incoming: Incoming) -> Step:
        """Judge duplicates and lateness, describe each reading and learn from it, in the order given."""
        batch = self._batch(incoming)
        closed = step(_arrays(self._parts), self._prior, batch, self._scratch)
        keys = batch.closed_keys[:closed]
        minutes = Minutes([self.ids[row] for row in keys[:, 0]], keys[:, 1], keys[:, 2], batch.closed_stats[:closed])
        blocks = Blocks(self.names, batch.rows)
        return Step(batch.outcome, batch.late, batch.minute_closed, batch.ordinal, blocks, minutes, batch.station)

    def due(self, now_ms: int, pause_ms: int) -> np.ndarray:
        """Rows of stations that took readings since their last station row, which is at least `pause_ms` old."""
        longs = self._parts["longs"]
        return np.flatnonzero((longs[:, RECORD] > longs[:, FLUSHED]) & (longs[:, FLUSHED] <= now_ms - pause_ms))

    def flushed(self, rows: np.ndarray) -> None:
        """Note that the station rows were written up to the stations' last record time."""
        longs = self._parts["longs"]
        longs[rows, FLUSHED] = longs[rows, RECORD]

    def unflushed(self) -> bool:
        """Whether any station took readings since its last station row."""
        longs = self._parts["longs"]
        return bool((longs[:, RECORD] > longs[:, FLUSHED]).any())

    def column(self, column: int, rows: np.ndarray) -> np.ndarray:
        """Return a `longs` column (CLOCK, RECORD, ORDINAL) of stations, int64."""
        return self._parts["longs"][rows, column]

    def last_values(self, rows: np.ndarray) -> np.ndarray:
        """Return the last value of each sensor, (m, n_sensors) float32, NaN where there was none."""
        stats = self._parts["sensor"][rows]
        return np.where(stats[:, :, COUNT] > 0, stats[:, :, LAST], np.float32(np.nan))

    def cadences(self, rows: np.ndarray) -> np.ndarray:
        """Return the typical interval of stations, (m,) float32 s, 0 while unknown."""
        return self._parts["station"][rows, CADENCE]

    def learnt(self, name: str) -> np.ndarray:
        """Return a field of `statistics_kernel.Statistics`, one row a station."""
        return self._parts[name]

    def open_minutes(self, rows: np.ndarray) -> Minutes:
        """Return the open minutes of stations, as they would close at this moment."""
        chosen = _arrays({name: part[rows] for name, part in self._parts.items()})
        held = int((chosen.minutes != NO_MINUTE).sum())
        keys, stats = np.zeros((held, 3), np.int64), np.zeros((held, len(self.names), CLOSED_COLUMNS + BAND))
        closed = 0
        for row in range(len(rows)):
            closed = close_until(chosen, self._prior, row, 2**31 - 1, keys, stats, closed)
        return Minutes([self.ids[rows[row]] for row in keys[:, 0]], keys[:, 1], keys[:, 2], stats)

    def forget(self, now_ms: int) -> Minutes:
        """Free the stations without a record for very long; return their open minutes, which close so."""
        old = self._parts["longs"][:, RECORD] < now_ms - FREE_MS
        if not old.any():
            return self.open_minutes(np.zeros(0, np.int64))
        minutes = self.open_minutes(np.flatnonzero(old))
        kept = np.flatnonzero(~old)
        self._parts = {name: part[kept] for name, part in self._parts.items()}
        self.ids = [self.ids[row] for row in kept]
        self._rows = {station_id: row for row, station_id in enumerate(self.ids)}
        return minutes

    def to_bytes(self) -> bytes:
        """Pack: a header, the ids with their lengths, the arrays one after the other."""
        return self._packed(slice(0, len(self.ids)))

    def one_station_bytes(self, row: int) -> bytes:
        """Pack one station as a shard that holds nobody else."""
        return self._packed(slice(row, row + 1))

    def _packed(self, rows: slice) -> bytes:
        encoded = [station_id.encode() for station_id in self.ids[rows]]
        header = msgspec.msgpack.encode(_Header(LAYOUT, list(self.names), len(encoded)))
        lengths = np.array([len(name) for name in encoded], np.uint8).tobytes()
        arrays = [np.ascontiguousarray(part[rows]).tobytes() for part in self._parts.values()]
        return b"".join([_LENGTH.pack(len(header)), header, lengths, *encoded, *arrays])

    @classmethod
    def from_bytes(cls, data: bytes, sensors: tuple[Sensor, ...], prior: Prior) -> ShardState:
        """Unpack for today's catalogue: a removed sensor is dropped, an added one starts anew.

        Raises:
            StateRefused: another layout, or bytes that do not add up.
        """
        state = cls(sensors, prior)
        (size,) = _LENGTH.unpack_from(data)
        header = msgspec.msgpack.decode(data[4 : 4 + size], type=_Header)
        if header.layout != LAYOUT:
            raise StateRefused(
                f"the checkpoint holds state layout {header.layout}; this release reads {LAYOUT}. "
                "Run the release that wrote it, or start a fresh checkpoint: it replays the topic."
            )
        at = 4 + size
        lengths = np.frombuffer(data, np.uint8, header.stations, at).tolist()
        at += header.stations
        for length in lengths:
            state.ids.append(data[at : at + length].decode())
            at += length
        state._rows = {station_id: row for row, station_id in enumerate(state.ids)}
        state._parts = _unpack(data, at, header, state.names)
        return state

    def _batch(self, incoming: Incoming) -> Batch:
        n, n_sensors = len(incoming.event_ms), len(self.names)
        rows = self._rows
        fresh = [station_id for station_id in dict.fromkeys(incoming.station_ids) if station_id not in rows]
        self._grow(fresh)
        station = np.fromiter((rows[name] for name in incoming.station_ids), np.int32, n)
        identity, content = np.empty(n, np.uint64), np.empty(n, np.uint32)
        identity_hashes(incoming.event_ms, incoming.seq, identity)
        bits = np.where(np.isnan(incoming.values), np.float64(np.nan), incoming.values).view(np.uint64)
        content_hashes(bits, content)
        most_closed = OPEN_MINUTES * (len(np.unique(station)) + n)
        return Batch(
            station=station,
            event_ms=incoming.event_ms,
            record_ms=incoming.record_ms,
            identity=identity,
            content=content,
            values=incoming.values.astype(np.float32),
            outcome=np.zeros(n, np.uint8),
            late=np.zeros(n, np.bool_),
            minute_closed=np.zeros(n, np.bool_),
            ordinal=np.zeros(n, np.int64),
            rows=np.zeros((n, block_width(n_sensors)), np.float32),
            closed_keys=np.zeros((most_closed, 3), np.int64),
            closed_stats=np.zeros((most_closed, n_sensors, CLOSED_COLUMNS + BAND)),
        )

    def _grow(self, fresh: list[str]) -> None:
        if not fresh:
            return
        for station_id in fresh:
            self._rows[station_id] = len(self.ids)
            self.ids.append(station_id)
        added = _empty(len(fresh), len(self.names))
        self._parts = {name: np.concatenate((part, added[name])) for name, part in self._parts.items()}


def _shape(tail: tuple[object, ...], n: int, n_sensors: int) -> tuple[int, ...]:
    return (n, *(n_sensors if size == "S" else int(str(size)) for size in tail))


def _empty(n: int, n_sensors: int) -> _Parts:
    parts = {name: np.zeros(_shape(tail, n, n_sensors), dtype) for name, dtype, tail in _FIELDS}
    parts["minutes"][:] = NO_MINUTE
    return parts


def _arrays(parts: _Parts) -> StationArrays:
    statistics = Statistics(*(parts[name] for name in Statistics._fields))
    others = {name: parts[name] for name in StationArrays._fields if name != "statistics"}
    return StationArrays(statistics=statistics, **others)


def _unpack(data: bytes, at: int, header: _Header, names: tuple[str, ...]) -> _Parts:
    """Read the arrays behind the ids, and fit them to the sensors `names`."""
    stored = {}
    for name, dtype, tail in _FIELDS:
        shape = _shape(tail, header.stations, len(header.sensors))
        count = int(np.prod(shape))
        stored[name] = np.frombuffer(data, dtype, count, at).reshape(shape)
        at += count * np.dtype(dtype).itemsize
    if at != len(data):
        raise StateRefused(f"the state has {len(data)} bytes where {at} were expected; the checkpoint is damaged")
    if tuple(header.sensors) == names:
        return {name: part.copy() for name, part in stored.items()}
    kept = [name for name in names if name in header.sensors]
    fitted = _empty(header.stations, len(names))
    for name, _, tail in _FIELDS:
        source = stored[name]
        for axis in [place + 1 for place, size in enumerate(tail) if size == "S"]:
            source = source.take([header.sensors.index(sensor) for sensor in kept], axis)
        # Chosen along every sensor axis at once, so that a covariance keeps its pairs.
        places = [names.index(sensor) for sensor in kept]
        where = tuple(places if size == "S" else list(range(int(str(size)))) for size in tail)
        fitted[name][np.ix_(range(header.stations), *where)] = source
    return fitted


def _prior_arrays(prior: Prior, sensors: tuple[Sensor, ...], recipe: Recipe) -> PriorArrays:
    plausible = np.array([sensor.plausible for sensor in sensors], np.float64).reshape(len(sensors), 2)
    single = np.stack([prior.floor, prior.resolution, prior.run_limit, prior.missing_limit], axis=1)
    columns = (single, plausible, prior.spread, prior.tail_start, prior.tail_excess, prior.tail_shape)
    per_sensor = np.ascontiguousarray(np.concatenate(columns, axis=1))
    witnesses = float(max(1, np.isfinite(prior.tail_start).sum()))
    pool = Pool(float(prior.cadence), float(prior.budget), float(prior.gap_limit), float(prior.trust), witnesses)
    return PriorArrays(pool, recipe, per_sensor, np.ascontiguousarray(prior.covariance))


__all__ = ["CLOCK", "ORDINAL", "RECORD", "Incoming", "Minutes", "ShardState", "Step"]
