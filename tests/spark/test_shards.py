"""Shards follow from the record key alone and spread evenly over tasks."""

from __future__ import annotations

from collections import Counter
from zlib import crc32

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from spark_jobs.tasks.shards import shard_label, shard_labels, task_of


@pytest.mark.parametrize(("shards", "tasks"), [(32, 2), (8, 3), (5, 4), (1, 1)])
def test_labels_are_distinct_and_even(shards: int, tasks: int) -> None:
    labels = shard_labels(shards, tasks)
    assert len(set(labels)) == shards
    load = Counter(task_of(label, tasks) for label in labels)
    assert max(load.values()) - min(load.get(task, 0) for task in range(tasks)) <= 1


def test_task_of_is_where_spark_puts_an_integer_key(spark: SparkSession) -> None:
    frame = spark.range(200).select(F.col("id").cast("int").alias("label"))
    placed = frame.repartition(7, "label").select("label", F.spark_partition_id().alias("task")).collect()
    assert all(task_of(row["label"], 7) == row["task"] for row in placed)


def test_the_shard_of_a_key_is_its_crc32(spark: SparkSession) -> None:
    labels = shard_labels(8, 2)
    keys = [b"station-0001", b"", b"\xff\x00", None]
    frame = spark.createDataFrame([(key,) for key in keys], "key binary").select(
        shard_label(F.col("key"), labels).alias("l")
    )
    assert [row["l"] for row in frame.collect()] == [labels[crc32(key or b"") % 8] for key in keys]
