"""A bounded look at the newest readings in Kafka: what it costs does not depend on how many arrive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError

from core.errors import BrokerUnavailable
from core.kafka_errors import broker_error, overheard

CHUNKS = 8
"""Places looked at per partition: publishers send station after station, so one place would show few stations."""

RECORDS = 100
"""Records taken at each place."""

_POLL_MS = 500
_SILENT_POLLS = 6
# A little more than RECORDS readings, so that a look fetches little of a large topic.
_FETCH_BYTES = 64 * 1024


class Record(NamedTuple):
    """A Kafka record as it is; `record_ms` is the broker's timestamp, ms since the epoch."""

    key: bytes | None
    value: bytes | None
    record_ms: int


class KafkaTail:
    """Samples a topic, as its own consumer outside of any group: nothing is committed, nobody else is disturbed.

    Args:
        kafka: client settings of kafka-python, with `bootstrap_servers`.
        topic: of the readings.

    Raises:
        BrokerUnavailable: no broker answers.
        BrokerRefused: it does not take the login, or its certificate is not trusted.
    """

    def __init__(self, kafka: Mapping[str, Any], topic: str) -> None:
        self._topic = topic
        heard: list[str] = []
        try:
            with overheard() as heard:
                self._consumer = KafkaConsumer(
                    **kafka,
                    enable_auto_commit=False,
                    group_id=None,
                    max_partition_fetch_bytes=_FETCH_BYTES,
                    max_poll_records=RECORDS,
                    metrics_enabled=False,
                )
        except (KafkaConnectionError, KafkaTimeoutError) as error:
            raise broker_error(",".join(kafka["bootstrap_servers"]), error, heard) from error

    def take(self, since_ms: int) -> list[Record]:
        """Return up to `CHUNKS * RECORDS` of each partition's records since a time, spread evenly.

        Raises:
            BrokerUnavailable: the broker does not answer, or the topic is not there.
        """
        try:
            numbers = self._consumer.partitions_for_topic(self._topic)
            if not numbers:
                raise BrokerUnavailable(f"topic {self._topic} is not known; the stations or `local_stack up` make it")
            places = [TopicPartition(self._topic, number) for number in sorted(numbers)]
            ends = self._consumer.end_offsets(places)
            begins = self._consumer.offsets_for_times(dict.fromkeys(places, since_ms))
            return [
                record for place in places if begins[place] for record in self._of(place, begins[place][0], ends[place])
            ]
        except KafkaError as error:
            raise BrokerUnavailable(f"{self._topic}: {error!r}") from error

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()

    def _of(self, place: TopicPartition, begin: int, end: int) -> Iterator[Record]:
        self._consumer.assign([place])
        for first, after in chunks(begin, end):
            self._consumer.seek(place, first)
            silent = 0
            while first < after and silent < _SILENT_POLLS:
                found = self._consumer.poll(_POLL_MS).get(place, [])
                silent = 0 if found else silent + 1
                for record in found:
                    if record.offset < after:
                        yield Record(record.key, record.value, record.timestamp)
                first = found[-1].offset + 1 if found else first


def chunks(begin: int, end: int) -> list[tuple[int, int]]:
    """Spread at most `CHUNKS` stretches of at most `RECORDS` offsets over [begin, end), the last one at its end."""
    if end - begin <= CHUNKS * RECORDS:
        return [(begin, end)] if end > begin else []
    stride = (end - begin - RECORDS) / (CHUNKS - 1)
    firsts = [begin + round(number * stride) for number in range(CHUNKS)]
    return [(first, first + RECORDS) for first in firsts]
