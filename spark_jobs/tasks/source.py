"""Where readings come from: the Kafka source, and a look at the topic before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.errors import KafkaError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from core.errors import NotFound
from core.kafka_errors import broker_error, overheard
from spark_jobs.tasks.shards import shard_label

_LOOK_MS = 10_000
# Before each poll Spark's source asks the broker for the bounds of the partition, and a poll brings 500 records by
# default.
_POLL_RECORDS = 10_000


def read_records(spark: SparkSession, *, kafka: Mapping[str, str], topic: str, most_offsets: int) -> DataFrame:
    """Return the topic's records from the earliest on: partition, offset, record_ms, key, value.

    A lost range stops the query (`failOnDataLoss`) instead of being skipped in silence.

    Args:
        spark: the session.
        kafka: options of Spark's Kafka source that name the brokers and log in.
        topic: of readings.
        most_offsets: in a batch.
    """
    records = (
        spark.readStream.format("kafka")
        .options(**kafka)
        .option("subscribe", topic)
        .option("startingOffsets", "earliest")
        .option("failOnDataLoss", "true")
        .option("maxOffsetsPerTrigger", most_offsets)
        .option("kafka.max.poll.records", _POLL_RECORDS)
        .load()
    )
    return records.select(
        F.col("partition"),
        F.col("offset"),
        F.unix_millis("timestamp").alias("record_ms"),
        F.col("key"),
        F.col("value"),
    )


def with_shards(records: DataFrame, labels: list[int]) -> DataFrame:
    """Add each record's shard label, which follows from its key alone."""
    return records.select(
        shard_label(F.col("key"), labels).alias("shard"),
        F.col("partition"),
        F.col("offset"),
        F.col("record_ms"),
        F.col("key"),
        F.col("value"),
    )


def check_topics(kafka: Mapping[str, Any], topic: str, rejected_topic: str) -> list[str]:
    """Look at the topics before the stream starts.

    Args:
        kafka: client settings of kafka-python, with `bootstrap_servers`.
        topic: of readings.
        rejected_topic: of dead letters.

    Returns:
        Warnings, one sentence each.

    Raises:
        BrokerUnavailable: Kafka does not answer.
        BrokerRefused: it does not take the login, or its certificate is not trusted.
        NotFound: a topic is not there.
    """
    where, heard = ",".join(kafka["bootstrap_servers"]), list[str]()
    try:
        with overheard() as heard:
            admin = KafkaAdminClient(bootstrap_timeout_ms=_LOOK_MS, request_timeout_ms=_LOOK_MS, **kafka)
        try:
            present = set(admin.list_topics())
            missing = [name for name in (topic, rejected_topic) if name not in present]
            if missing:
                raise NotFound(
                    f"Kafka at {where} has no topic {' and no topic '.join(missing)}; create them "
                    "(python -m local_stack up does), or set STATIONWATCH_READINGS_TOPIC / _REJECTED_TOPIC"
                )
            resource = ConfigResource(ConfigResourceType.TOPIC, topic)
            config = admin.describe_configs([resource], config_filter="all")["topic"][topic]
            stamped = str(config["message.timestamp.type"]["value"])
        finally:
            admin.close()
    except KafkaError as error:
        raise broker_error(where, error, heard) from error
    if stamped == "LogAppendTime":
        return []
    return [
        f"topic {topic} has message.timestamp.type={stamped}: record times come from the stations' own clocks, so that "
        "a wrong clock is noticed only against itself; set LogAppendTime"
    ]
