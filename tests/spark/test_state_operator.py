"""The stateful operator in a real query, one micro-batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from core.sensors import DEFAULT_SENSORS
from models.scoring.station_prior import Prior, neutral_prior
from spark_jobs.tasks.packing import PACKED_SCHEMA, ShardOutput, unpack
from spark_jobs.tasks.shards import shard_labels
from spark_jobs.tasks.source import with_shards
from spark_jobs.tasks.state_operator import STATE_SCHEMA, state_operator
from tests.spark.records import NOON, Topic, reading
from tests.waiting import wait_until

NAMES = tuple(sensor.name for sensor in DEFAULT_SENSORS)
PRIOR: Prior = neutral_prior(NAMES)


class Running:
    """A query over a folder of records that gathers what each batch packs."""

    def __init__(self, spark: SparkSession, topic: Topic, home: Path) -> None:
        self.rows: list[dict[str, Any]] = []
        self._topic = topic
        self._consumed = 0
        packed = (
            with_shards(topic.read(spark), shard_labels(4, 2))
            .groupBy("shard")
            .applyInPandasWithState(
                state_operator(DEFAULT_SENSORS, PRIOR), PACKED_SCHEMA, STATE_SCHEMA, "append", "ProcessingTimeTimeout"
            )
        )
        self.query = (
            packed.writeStream.foreachBatch(self._gather)
            .option("checkpointLocation", str(home))
            .trigger(processingTime="0 seconds")
            .start()
        )

    def _gather(self, frame: DataFrame, _: int) -> None:
        self.rows += [row.asDict() for row in frame.collect()]

    def step(self) -> ShardOutput:
        """Wait until every record is taken; return what was packed since the last step.

        Not processAllAvailable: a query with timeouts runs batches also without data, and is never idle.
        """
        wait_until(
            lambda: self._consumed + consumed(self.rows) >= self._topic.offset or self.query.exception(), "the batch"
        )
        assert self.query.exception() is None
        rows, self.rows = self.rows, []
        self._consumed += consumed(rows)
        return packed_output(rows)


def consumed(rows: list[dict[str, Any]]) -> int:
    return sum(int(np.frombuffer(row["counts"], np.int64)[0]) for row in rows)


def packed_output(rows: list[dict[str, Any]]) -> ShardOutput:
    return unpack(pa.Table.from_pylist(rows).to_batches() if rows else [], NAMES)


@pytest.fixture
def topic(tmp_path: Path) -> Topic:
    return Topic(tmp_path / "topic")


@pytest.fixture
def running(spark: SparkSession, topic: Topic, tmp_path: Path) -> Iterator[Running]:
    topic.add(reading("warm-up"))
    started = Running(spark, topic, tmp_path / "checkpoint")
    started.step()
    yield started
    started.query.stop()


def seqs(output: ShardOutput) -> list[int]:
    return sorted(output.accepted["seq"].to_pylist())


def test_readings_pass_and_bad_records_become_dead_letters_with_their_place(running: Running, topic: Topic) -> None:
    topic.add(reading(second=1), ("s1", b"{"), reading(second=2), ("other", reading(second=3)[1]))
    output = running.step()
    assert seqs(output) == [1, 2]
    rejected = {row["offset"]: row["reason"] for row in output.rejected.to_pylist()}
    assert rejected == {2: "malformed_json", 4: "key_mismatch"}
    assert output.rejected.to_pylist()[0]["value"] == b"{"


def test_a_duplicate_is_counted_and_a_conflict_is_a_dead_letter_also_in_a_later_batch(
    running: Running, topic: Topic
) -> None:
    topic.add(reading(second=1), reading(second=1))
    assert running.step().counts.tolist()[:3] == [2, 1, 1]
    topic.add(reading(second=1), reading(second=1, temperature=22.0))
    output = running.step()
    assert output.accepted.num_rows == 0
    assert output.rejected["reason"].to_pylist() == ["id_conflict"]


def test_a_late_reading_is_judged_and_marked(running: Running, topic: Topic) -> None:
    topic.add(reading(second=20), record_ms=NOON + 20_000)
    running.step()
    topic.add(reading(second=5), record_ms=NOON + 21_000)
    output = running.step()
    assert output.blocks.common("late").tolist() == [1.0]
    assert output.accepted["ordinal"].to_pylist() == [2]


def test_nothing_depends_on_where_batches_are_cut(spark: SparkSession, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    series = [reading(f"s{n % 5}", second=n, temperature=round(float(20 + rng.normal()), 1)) for n in range(120)]
    outputs = []
    for cut in (120, 7):
        topic = Topic(tmp_path / f"topic-{cut}")
        topic.add(*series[:cut], record_ms=NOON + 120_000)
        running = Running(spark, topic, tmp_path / f"checkpoint-{cut}")
        parts = [running.step()]
        for at in range(cut, len(series), 40):
            topic.add(*series[at : at + 40], record_ms=NOON + 120_000)
            parts.append(running.step())
        running.query.stop()
        outputs.append(parts)
    whole, pieces = (_by_offset(spark, parts) for parts in outputs)
    assert_df_equality(whole, pieces, ignore_row_order=True)


def _by_offset(spark: SparkSession, parts: list[ShardOutput]) -> DataFrame:
    rows = [
        (offset, block.tobytes())
        for part in parts
        for offset, block in zip(part.accepted["offset"].to_pylist(), part.blocks.rows, strict=True)
    ]
    return spark.createDataFrame(rows, "offset long, block binary")


def test_a_minute_closes_when_the_clock_enters_the_third_minute_after_it(running: Running, topic: Topic) -> None:
    topic.add(reading(second=10), reading(second=30, temperature=23.0), reading(second=179), record_ms=NOON + 179_000)
    assert running.step().minutes.num_rows == 0
    topic.add(reading(second=180), record_ms=NOON + 180_000)
    closed = running.step().minutes.to_pylist()
    assert [(row["minute"], row["readings"]) for row in closed] == [(NOON, 2)]
    mean, least, most, values = np.frombuffer(closed[0]["stats"]).reshape(3, 7)[0, :4].tolist()
    assert (mean, least, most, values) == (22.0, 21.0, 23.0, 2.0)


def test_a_station_row_that_is_not_due_is_written_after_a_pause_without_readings(
    running: Running, topic: Topic
) -> None:
    topic.add(reading(second=1), record_ms=NOON + 1_000)
    assert running.step().stations.num_rows == 1
    topic.add(reading(second=2), record_ms=NOON + 2_000)
    assert running.step().stations.num_rows == 0
    wait_until(lambda: packed_output(running.rows).stations.num_rows, "the station's row")
    assert packed_output(running.rows).stations["readings"].to_pylist() == [2]
