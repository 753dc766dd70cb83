"""`docs/scaling.md`: what a plant of 10⁴, 10⁶ or 10⁸ stations needs, computed from what was measured.

`python -m benchmarks.stream --pages` writes it again from `benchmarks/results/stream.json`.
"""

from __future__ import annotations

import math
from statistics import median
from typing import Any

from benchmarks.stream.page import table

PLANTS = (10**4, 10**6, 10**8)
BUSY = 0.6  # share of a core that is planned for: bursts, compaction and catching up take the rest
NODE_CORES, NODE_BYTES = 16, 2 * 10**12  # of a Cassandra node: usual sizes, 2 TB of data each
PARTITION_RATE = 10_000  # readings/s one Kafka partition is planned for
REPLICAS, DAYS_READINGS, DAYS_KAFKA = 3, 30, 7
_HEAD = """# How many machines

Written by `python -m benchmarks.stream --pages` from the figures in [performance.md](performance.md). One reading a
second and station. What is assumed and not measured: cost grows with the readings (the stations' table there shows how
far that holds), cores like the ones measured are used to {busy:.0%}, a Cassandra node has {cores} cores and {tb} TB for
data, {replicas} replicas, readings kept {days} days, Kafka keeps {kafka} days, a Kafka partition takes {rate:,}
readings/s. No cluster of this size was ever run."""


def scaling_page(parts: dict[str, Any]) -> str:
    """Return the page; without a run of `throughput` it says only what to run."""
    head = _HEAD.format(
        busy=BUSY, cores=NODE_CORES, tb=NODE_BYTES // 10**12, replicas=REPLICAS, days=DAYS_READINGS, kafka=DAYS_KAFKA,
        rate=PARTITION_RATE,
    )  # fmt: skip
    found = parts.get("throughput", {}).get("found")
    if not found or "bytes" not in found:
        return f"{head}\n\nNothing was measured yet: run `make bench-stream`.\n"
    cost = {path: _cpu(found["runs"][path]) for path in ("none", "all")}
    held = found["bytes"]
    rows = [_plant(stations, cost[path], held, path) for stations in PLANTS for path in ("none", "all")]
    names = (
        "stations", "stored", "Spark cores", "Kafka partitions", "Kafka disk, TB", "Cassandra nodes",
        "Cassandra disk, TB",
    )  # fmt: skip
    measured = (
        f"Measured: Spark {cost['none']['stream']:.1f} µs of CPU a reading ({cost['all']['stream']:.1f} with every "
        f"reading stored), Cassandra {cost['none']['cassandra']:.1f} ({cost['all']['cassandra']:.1f}), "
        f"{held['kafka_per_reading']:.0f} bytes a reading in Kafka, {held['cassandra_per_row']:.0f} bytes a row in "
        f"Cassandra ({parts['throughput']['date']}, {parts['throughput']['commit']})."
    )
    return "\n\n".join([head, measured, table(names, rows), _ADVICE.strip()]) + "\n"


def _cpu(runs: list[dict[str, Any]]) -> dict[str, float]:
    return {side: median(run["cpu_us"].get(side, 0.0) for run in runs) for side in ("stream", "cassandra")}


def _plant(stations: int, cost: dict[str, float], held: dict[str, float], path: str) -> tuple[Any, ...]:
    cores = math.ceil(stations * cost["stream"] * 1e-6 / BUSY)
    seconds = 86_400
    kafka = stations * held["kafka_per_reading"] * seconds * DAYS_KAFKA * REPLICAS
    cassandra = stations * held["cassandra_per_row"] * seconds * DAYS_READINGS * REPLICAS if path == "all" else 0.0
    by_cores = stations * cost["cassandra"] * 1e-6 * REPLICAS / BUSY / NODE_CORES
    nodes = max(REPLICAS, math.ceil(max(by_cores, cassandra / NODE_BYTES)))
    partitions = max(4, math.ceil(stations / PARTITION_RATE), cores)
    stored = "every reading" if path == "all" else "anomalies, minutes"
    return (stations, stored, cores, partitions, _tb(kafka), nodes, _tb(cassandra) if cassandra else "little")


def _tb(number: float) -> str:
    return f"{number / 1e12:,.1f}"


_ADVICE = """
- Kafka partitions are at least as many as Spark cores, so that each core has one to read; `STATIONWATCH_SHARDS` at
  least four times the cores, and `STATIONWATCH_SHUFFLE_PARTITIONS` the cores: both are fixed for the life of a
  checkpoint.
- A shard's state is rewritten by every batch that touches it: offsets per trigger at least as many as stations, so that
  a batch carries about one reading of each.
- In each batch the state of its stations passes through the heap of Spark (`STATIONWATCH_SPARK_DRIVER_MEMORY`, on a
  cluster `spark.executor.memory`): 768 MB carried 10,000 stations and not 200,000, which 4 GB do.
- From 10⁶ stations on keep a share of whole stations (`STATIONWATCH_READINGS_KEPT=0.01`): disk, not judging, is what a
  plant of this size pays for. 10⁸ stations are several streams, each with its own topic and keyspace.
"""
