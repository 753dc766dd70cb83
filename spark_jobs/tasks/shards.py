"""Shards: the key of the stateful operator, with labels that spread evenly over Spark's tasks."""

from __future__ import annotations

import struct

from pyspark.sql import Column
from pyspark.sql import functions as F
from sklearn.utils import murmurhash3_32

_SPARK_HASH_SEED = 42


def shard_labels(shards: int, tasks: int) -> list[int]:
    """Choose one label per shard so that shard i lands in task i mod `tasks`.

    Spark hashes the grouping key once more (Murmur3, seed 42) to find its task, so that consecutive labels may pile up
    on one task. A pure function: a checkpoint that pins both numbers pins the labels.
    """
    labels: list[int] = []
    candidate = 0
    for shard in range(shards):
        while task_of(candidate, tasks) != shard % tasks or candidate in labels:
            candidate += 1
        labels.append(candidate)
        candidate = 0 if shard % tasks == tasks - 1 else candidate
    return labels


def task_of(label: int, tasks: int) -> int:
    """Return the task that Spark's hash partitioning gives an integer key."""
    return int(murmurhash3_32(struct.pack("<i", label), seed=_SPARK_HASH_SEED)) % tasks


def shard_label(key: Column, labels: list[int]) -> Column:
    """Return the label of a record key's shard; a null key counts as empty. No parsing is needed."""
    index = F.pmod(F.crc32(F.coalesce(key, F.lit(b""))), F.lit(len(labels)))
    return F.element_at(F.array(*(F.lit(label) for label in labels)), (index + 1).cast("int"))
