"""The reference path: `from_json` → one pandas UDF with scikit-learn's forest on raw values → every row to Cassandra.

Its writes are as good as the driver allows: prepared, asynchronous, in batches of one partition. What it lacks is the
rest of stationwatch: no validation, duplicates, context, explanations, minutes. Settings come from the environment as
the stream's do; two arguments: the history it learns from, and a file that takes one JSON line per batch.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from cassandra.concurrent import execute_concurrent
from cassandra.query import BatchStatement, BatchType
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import pandas_udf
from pyspark.sql.streaming.readwriter import DataStreamReader
from sklearn.ensemble import IsolationForest

from core.settings import Settings, load_settings
from spark_jobs.driver.spark_session import stream_session
from storage.driver.session import StoreConfig, connected

TREES, CONTAMINATION = 1000, 0.00125
BATCH_ROWS, IN_FLIGHT = 50, 64
NAMES = ("temperature", "humidity", "noise")
SCHEMA = "schema_version int, station_id string, event_time timestamp, seq long, " + ", ".join(
    f"{name} double" for name in NAMES
)
TABLE = """
CREATE TABLE IF NOT EXISTS reference_readings (station_id text, event_time timestamp, seq bigint, temperature double,
    humidity double, noise double, score double, is_anomaly boolean, PRIMARY KEY (station_id, event_time, seq))"""
INSERT = """
INSERT INTO reference_readings (station_id, event_time, seq, temperature, humidity, noise, score, is_anomaly)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""


def main() -> int:
    """Drain the topic and end."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stream.reference", description=__doc__)
    parser.add_argument("history", type=Path, help="what the forest learns from, .parquet")
    parser.add_argument("report", type=Path, help="JSON lines to write: time and rows of each batch")
    options = parser.parse_args()
    settings, history, report = load_settings(), options.history, options.report
    learnt = pd.read_parquet(history, columns=list(NAMES)).dropna().to_numpy()
    forest = IsolationForest(n_estimators=TREES, contamination=CONTAMINATION, random_state=0).fit(learnt)
    spark = stream_session(
        master=settings.spark_master,
        driver_memory=settings.spark_driver_memory,
        jars=settings.spark_jars,
        shuffle_partitions=settings.shuffle_partitions,
        local_checkpoint=True,
    )
    model = spark.sparkContext.broadcast(forest)

    @pandas_udf("double")  # type: ignore[call-overload]
    def score(columns: Iterator[tuple[pd.Series, ...]]) -> Iterator[pd.Series]:
        for values in columns:
            yield pd.Series(-model.value.score_samples(np.column_stack(values)))

    config, offset = StoreConfig.from_settings(settings), float(-forest.offset_)

    def store(scored: DataFrame, _: int) -> None:
        # One action. An observation would count as well, but the sum of what the tasks wrote is what was kept.
        counts = scored.mapInPandas(lambda frames: _write(frames, config), "rows long").collect()
        with report.open("a") as file:
            file.write(json.dumps({"time": time.time(), "rows": sum(row["rows"] for row in counts)}) + "\n")

    readings = _parsed(spark.readStream.format("kafka"), settings)
    scored = readings.withColumn("score", score(*NAMES)).withColumn("is_anomaly", F.col("score") > offset)
    query = (
        scored.writeStream.foreachBatch(store)
        .option("checkpointLocation", settings.checkpoint_uri)
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    spark.stop()
    return 0


def _parsed(reader: DataStreamReader, settings: Settings) -> DataFrame:
    raw = (
        reader.options(**settings.kafka_source_options())
        .option("subscribe", settings.readings_topic)
        .option("startingOffsets", "earliest")
        .option("maxOffsetsPerTrigger", settings.max_offsets_per_trigger)
        .load()
    )
    reading = F.from_json(F.col("value").cast("string"), SCHEMA)
    return raw.select(reading.alias("reading")).select("reading.*").dropna(subset=["station_id", "event_time", *NAMES])


def _write(frames: Iterator[pd.DataFrame], config: StoreConfig) -> Iterator[pd.DataFrame]:
    store = connected(config)
    insert, rows = store.prepared(INSERT), 0
    for frame in frames:
        batches = []
        for _, group in frame.groupby("station_id", sort=False):
            values = list(
                zip(
                    group["station_id"], group["event_time"].dt.to_pydatetime(), group["seq"].tolist(),
                    *(group[name].tolist() for name in NAMES), group["score"].tolist(), group["is_anomaly"].tolist(),
                    strict=True,
                )
            )  # fmt: skip
            for start in range(0, len(values), BATCH_ROWS):
                batch = BatchStatement(BatchType.UNLOGGED)
                for row in values[start : start + BATCH_ROWS]:
                    batch.add(insert, row)
                batches.append((batch, ()))
        for answer in execute_concurrent(store.session, batches, concurrency=IN_FLIGHT):
            if not answer.success:
                raise answer.result_or_exc
        rows += len(frame)
    yield pd.DataFrame({"rows": [rows]})


if __name__ == "__main__":
    sys.exit(main())
