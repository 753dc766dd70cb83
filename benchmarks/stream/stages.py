"""CPU time of each stage in one process, without servers: what a reading costs where, and what another way would cost.

Records of 2,000 stations go through 32 shards and one scoring task, as in a batch of the stream. Parsing record by
record and binding row by row are still in the code, for the few that need it; here all take that way once as well.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast
from zlib import crc32

import numpy as np
import pyarrow as pa
from cassandra import cqltypes
from cassandra.protocol import BatchMessage, ColumnMetadata
from cassandra.query import PreparedStatement
from pyspark import Broadcast

from benchmarks.stream.load import records
from core.reading import Validator
from core.settings import Settings
from iot_simulator.process import StationProcess
from models.scoring.batch_parser import read_all
from models.scoring.detector import Detector
from models.scoring.features import FEATURES
from models.scoring.history import History
from models.scoring.isolation_forest import PackedForest
from models.scoring.shard_state import ShardState
from models.scoring.station_prior import Prior
from models.training.fit import fit_detector, fit_prior
from spark_jobs.tasks.activations import Activations
from spark_jobs.tasks.judged import Sinks
from spark_jobs.tasks.packing import unpack
from spark_jobs.tasks.scoring_stage import Stage
from spark_jobs.tasks.state_operator import Records, binary, take_records
from spark_jobs.tasks.table_rows import ReadingRows
from storage.driver.encoded_batches import EncodedRowsHandler
from storage.driver.retry import Patience
from storage.driver.session import Store, StoreConfig
from storage.driver.writes import batches_of
from storage.tables import readings
from storage.tables.readings import batches

STATIONS, SHARDS, TICKS, TURNS, TREES = 2000, 32, 25, 5, 1000
FIRST_TICK = 1_790_000_000
ONE_BY_ONE, AT_ONCE, STATE = "parse, record by record", "parse, compiled", "state and features"
PACKING = "state and blocks to bytes and back"
_TYPES: dict[str, Any] = {
    "station_id": cqltypes.VarcharType, "bucket": cqltypes.DateType, "event_time": cqltypes.DateType,
    "seq": cqltypes.LongType,
    "sensors": cqltypes.MapType.apply_parameters([cqltypes.VarcharType, cqltypes.DoubleType]),
    "score": cqltypes.DoubleType, "severity": cqltypes.FloatType, "flags": cqltypes.Int32Type,
    "model_version": cqltypes.Int32Type, "kafka_partition": cqltypes.Int32Type, "kafka_offset": cqltypes.LongType,
    "record_time": cqltypes.DateType, "scored_time": cqltypes.DateType,
}  # fmt: skip


class _Clock:
    """CPU seconds by stage; of several turns the least counts."""

    def __init__(self) -> None:
        self.turns: list[dict[str, float]] = []

    def turn(self) -> None:
        self.turns.append(defaultdict(float))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.process_time()
        yield
        self.turns[-1][name] += time.process_time() - began

    def least(self) -> dict[str, float]:
        # The first turn compiles and meets every station for the first time.
        return {name: min(turn[name] for turn in self.turns[1:]) for name in self.turns[-1]}


class _Store:
    """What batches are told by a store of one node."""

    config = StoreConfig()
    statement = PreparedStatement(
        [ColumnMetadata("k", "readings", name, kind) for name, kind in _TYPES.items()],
        b"0123456789abcdef", [0, 1], readings.INSERT, "k", 4, None, None,
    )  # fmt: skip

    def prepared(self, _: str) -> PreparedStatement:
        return self.statement

    def replicas_of_key(self, _: bytes) -> None:
        return None

    replicas_of = replicas_of_key


class _Held:
    """A broadcast that is here already."""

    def __init__(self, value: bytes) -> None:
        self.value = value


def stages() -> dict[str, Any]:
    """Measure; µs of CPU per reading."""
    settings = Settings(_env_file=None)
    stage, prior = _trained(settings)
    validator = Validator(settings.sensors)
    shards = {number: ShardState(settings.sensors, prior).to_bytes() for number in range(SHARDS)}
    clock, offset = _Clock(), 0
    for turn in range(TURNS):
        clock.turn()
        packed = []
        for shard, batch in _by_shard(settings, turn, offset).items():
            offset += len(batch.offset)
            one_by_one = list(
                zip(batch.key.to_pylist(), batch.value.to_pylist(), batch.record_ms.tolist(), strict=True)
            )
            with clock.stage(ONE_BY_ONE):
                for record in one_by_one:
                    validator.validate(*record)
            with clock.stage(PACKING):
                state = ShardState.from_bytes(shards[shard], settings.sensors, prior)
            with clock.stage(AT_ONCE):
                read_all(validator, batch.key, batch.value, batch.record_ms)
            with clock.stage(STATE):
                output = take_records(state, validator, batch, flush=False)
            with clock.stage(PACKING):
                shards[shard] = state.to_bytes()
                packed.append(output.pack(shard))
        _score(clock, stage, pa.RecordBatch.from_pylist(packed), settings)
    least = clock.least()
    least[STATE] -= least[AT_ONCE]
    return {name: round(1e6 * spent / (STATIONS * TICKS), 2) for name, spent in least.items()}


def _score(clock: _Clock, stage: Stage, packed: pa.RecordBatch, settings: Settings) -> None:
    names = tuple(sensor.name for sensor in settings.sensors)
    store = cast(Store, _Store())
    with clock.stage(PACKING):
        output = unpack([packed], names)
    with clock.stage("score, explain what is flagged"):
        judged = stage.judge(output)
    built = ReadingRows(judged, names, 0)
    rows, _ = built.of_stations_kept(1.0)
    with clock.stage("rows of readings, encoded by columns"):
        for batch in batches(store, built.as_columns(rows)):
            _sent(batch)
    with clock.stage("rows of readings, bound one by one"):
        for batch in batches_of(store, readings.INSERT, map(readings.keyed, built.readings(rows)), Patience(1.0)):
            _sent(batch)
    with clock.stage("samples"):
        list(built.samples(settings.feature_samples_per_minute))


def _sent(batch: Any) -> None:
    """Encode a batch as the driver does before it sends it."""
    message = BatchMessage(batch.batch_type, batch._statements_and_parameters, 6, None, 1, None)
    EncodedRowsHandler.encode_message(message, 1, 4, None, False)


def _by_shard(settings: Settings, turn: int, offset: int) -> dict[int, Records]:
    first = FIRST_TICK + turn * TICKS
    groups: dict[int, list[tuple[bytes, bytes]]] = defaultdict(list)
    for key, value in records(settings, STATIONS, first, TICKS, np.random.default_rng(turn)):
        groups[crc32(key) % SHARDS].append((key, value))
    found = {}
    for shard, members in groups.items():
        keys, values = map(binary, zip(*members, strict=True))
        n = len(members)
        record_ms = np.repeat((first + TICKS) * 1000, n)
        found[shard] = Records(np.zeros(n, np.int32), offset + np.arange(n), record_ms, keys, values)
        offset += n
    return found


def _trained(settings: Settings) -> tuple[Stage, Prior]:
    ticks = 2000
    values = StationProcess(1, range(20), settings.sensors, 1.0).block(FIRST_TICK - 100_000, ticks)
    names = [f"station-{number:06d}" for number in range(20)] * ticks
    event_ms = np.repeat((FIRST_TICK - 100_000 + np.arange(ticks, dtype=np.int64)) * 1000, 20)
    learning = History(names, event_ms, event_ms, event_ms // 1000, values.reshape(-1, len(settings.sensors)))
    prior = fit_prior(learning, settings.sensors, 1.0)
    rng = np.random.default_rng(1)
    forest, spec = fit_detector(learning, settings.sensors, prior, trees=TREES, budget=1.0, rng=rng)
    detector = Detector(spec, PackedForest.from_sklearn(forest, FEATURES)).to_bytes()
    sinks = Sinks(StoreConfig(), {}, "readings", "rejected", 1.0, settings.feature_samples_per_minute, 1.0)
    held = cast("Broadcast[bytes]", _Held(detector))
    return Stage(settings.sensors, {1: held}, Activations({0: [(0, 1)]}), sinks), prior
