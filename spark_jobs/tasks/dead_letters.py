"""Dead letters: what was no reading, unchanged, with where it stood and why."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from kafka import KafkaProducer
from kafka.errors import KafkaError
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from core.errors import BrokerUnavailable

_DETAIL_BYTES = 2_000
_VALUE_BYTES = 1_048_588  # what a broker takes by default; the dead-letter topic takes a little more, for headers

_producers: dict[tuple[int, str], KafkaProducer] = {}


def send_dead_letters(
    rejected: pa.Table, *, topic: str, to: str, kafka: Mapping[str, Any], deadline_seconds: float
) -> None:
    """Send each rejected record to the dead-letter topic and wait until Kafka has all of them.

    A replay may send one again: its key, `topic-partition-offset`, is its identity.

    Args:
        rejected: rows of `packing.REJECTED`.
        topic: where the records came from.
        to: the dead-letter topic.
        kafka: client settings of kafka-python, with `bootstrap_servers`.
        deadline_seconds: how long Kafka may be away.

    Raises:
        BrokerUnavailable: not all were acknowledged until the deadline.
    """
    if not rejected.num_rows:
        return
    rows = rejected.to_pylist()
    try:
        for attempt in Retrying(
            retry=retry_if_exception_type(KafkaError),
            wait=wait_exponential_jitter(initial=0.5, max=10),
            stop=stop_after_delay(deadline_seconds),
        ):
            with attempt:
                _send_all(rows, topic, to, kafka)
    except RetryError as error:
        cause = error.last_attempt.exception()
        first = rows[0]
        raise BrokerUnavailable(
            f"{len(rows)} dead letters from {topic}[{first['partition']}]@{first['offset']} on could not be sent to "
            f"{to} within {deadline_seconds:.0f} s: {cause}"
        ) from cause


def _send_all(rows: list[dict[str, Any]], topic: str, to: str, kafka: Mapping[str, Any]) -> None:
    producer = _producer(kafka)
    sent = [
        producer.send(
            to, key=_key(topic, row), value=(row["value"] or b"")[:_VALUE_BYTES], headers=_headers(topic, row)
        )
        for row in rows
    ]
    producer.flush()
    for delivery in sent:
        delivery.get(timeout=0)


def _key(topic: str, row: dict[str, Any]) -> bytes:
    return f"{topic}-{row['partition']}-{row['offset']}".encode()


def _headers(topic: str, row: dict[str, Any]) -> list[tuple[str, bytes]]:
    headers = {
        "topic": topic,
        "partition": row["partition"],
        "offset": row["offset"],
        "timestamp": row["record_ms"],
        "reason": row["reason"],
        "detail": row["detail"][:_DETAIL_BYTES],
    }
    encoded = [(name, str(value).encode("utf-8", "backslashreplace")) for name, value in headers.items()]
    if row["key"] is not None:
        encoded.append(("key", row["key"]))
    if len(row["value"] or b"") > _VALUE_BYTES:
        # A compressed batch may carry a record that no broker takes alone.
        encoded.append(("truncated_from", str(len(row["value"])).encode()))
    if row["value"] is None:
        encoded.append(("null_value", b"true"))
    return encoded


def _producer(kafka: Mapping[str, Any]) -> KafkaProducer:
    """Return this process's producer; a forked worker makes its own."""
    identity = (os.getpid(), str(kafka["bootstrap_servers"]))
    if identity not in _producers:
        _producers[identity] = KafkaProducer(
            acks="all", linger_ms=5, max_block_ms=10_000, max_request_size=2 * _VALUE_BYTES, **kafka
        )
    return _producers[identity]
