"""The independent consumer: what Kafka really holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from tests.oracle.stations import TopicRow

POLL_MS = 1000
SILENT_POLLS = 30


def end_offsets(kafka: Mapping[str, Any], topic: str) -> dict[int, int]:
    """Partition → the offset that the next entry will get."""
    consumer = _consumer(kafka)
    try:
        return {tp.partition: end for tp, end in consumer.end_offsets(_partitions(consumer, topic)).items()}
    finally:
        consumer.close()


def read_topic(kafka: Mapping[str, Any], topic: str) -> list[TopicRow]:
    """Read a topic from its first entry to the end it has at this moment, in (partition, offset) order.

    Raises:
        AssertionError: Kafka gave nothing for long though the end was not reached.
    """
    consumer = _consumer(kafka)
    try:
        partitions = _partitions(consumer, topic)
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends = consumer.end_offsets(partitions)
        return sorted(_until(consumer, ends), key=lambda row: (row.partition, row.offset))
    finally:
        consumer.close()


def _until(consumer: KafkaConsumer, ends: dict[TopicPartition, int]) -> Iterable[TopicRow]:
    rows: list[TopicRow] = []
    silent = 0
    while any(consumer.position(tp) < end for tp, end in ends.items()):
        polled = consumer.poll(timeout_ms=POLL_MS)
        silent = 0 if polled else silent + 1
        assert silent < SILENT_POLLS, f"Kafka gives nothing more; ends {ends}, read {len(rows)}"
        for tp, found in polled.items():
            rows += [
                TopicRow(tp.partition, r.offset, r.key, r.value, r.timestamp, tuple(r.headers))
                for r in found
                if r.offset < ends[tp]
            ]
    return rows


def _consumer(kafka: Mapping[str, Any]) -> KafkaConsumer:
    return KafkaConsumer(
        **kafka,
        group_id=None,
        enable_auto_commit=False,
        fetch_max_bytes=16 * 1024 * 1024,
        max_partition_fetch_bytes=4 * 1024 * 1024,
        max_poll_records=5000,
    )


def _partitions(consumer: KafkaConsumer, topic: str) -> list[TopicPartition]:
    numbers = consumer.partitions_for_topic(topic)
    assert numbers, f"topic {topic} does not exist"
    return [TopicPartition(topic, number) for number in sorted(numbers)]
