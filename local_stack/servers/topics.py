"""The topics of stationwatch: created once, checked ever after. Works on the local broker and on any other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.errors import KafkaError, TopicAlreadyExistsError

from core.kafka_errors import broker_error, overheard
from core.settings import Settings

PATIENCE_SECONDS = 30.0
"""How long a broker is waited for that does not answer, or answers with a refusal."""

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
# The broker's default for a record, and room in a dead letter for its headers.
_LARGEST_READING = 1_048_588
_LARGEST_DEAD_LETTER = _LARGEST_READING + 65_536


@dataclass(frozen=True)
class Topic:
    """A topic as stationwatch wants it.

    Args:
        name: its name.
        partitions: how many; more are fine.
        config: Kafka's topic settings that matter.
    """

    name: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)


def wanted_topics(settings: Settings) -> tuple[Topic, ...]:
    """Return the topics that `settings` name.

    Dead letters are kept as long as readings in Cassandra, faults' labels as long as anomalies: whoever looks into
    either finds both. A partition is enough for each, their order within a station being all that counts.
    """
    readings_ms = settings.topic_retention_hours * _HOUR_MS
    return (
        Topic(
            settings.readings_topic,
            settings.topic_partitions,
            {
                "cleanup.policy": "delete",
                "retention.ms": str(readings_ms),
                # The validator judges event times by it: when the broker took the reading, not what a client says.
                "message.timestamp.type": "LogAppendTime",
            },
        ),
        Topic(
            settings.rejected_topic,
            1,
            {
                "cleanup.policy": "delete",
                "retention.ms": str(max(readings_ms, settings.readings_ttl_days * _DAY_MS)),
                "max.message.bytes": str(_LARGEST_DEAD_LETTER),
            },
        ),
        Topic(
            settings.labels_topic,
            1,
            {"cleanup.policy": "delete", "retention.ms": str(settings.anomalies_ttl_days * _DAY_MS)},
        ),
    )


def create_topics(settings: Settings) -> list[str]:
    """Create the topics that are missing and compare those that exist. Changes no existing topic.

    Returns:
        One sentence for each difference of an existing topic, with the value found and the value expected.

    Raises:
        BrokerUnavailable: Kafka does not answer.
        BrokerRefused: it does not take the login, or its certificate is not trusted.
    """
    topics = wanted_topics(settings)
    heard: list[str] = []
    try:
        with overheard() as heard, _admin(settings.kafka_client_options(), PATIENCE_SECONDS) as admin:
            present = set(admin.list_topics())
            alone = _create(admin, [topic for topic in topics if topic.name not in present])
            return _differences(admin, [topic for topic in topics if topic.name in present or not alone])
    except KafkaError as error:
        raise broker_error(settings.bootstrap_servers, error, heard) from error


def broker_answers(kafka: Mapping[str, Any], timeout_seconds: float) -> bool:
    """Return whether the brokers answer a metadata call.

    Args:
        kafka: client settings of kafka-python, with `bootstrap_servers`.
        timeout_seconds: how long to wait.
    """
    try:
        with _admin(kafka, timeout_seconds) as admin:
            return bool(admin.describe_cluster()["brokers"])
    except KafkaError:
        return False


@contextmanager
def _admin(kafka: Mapping[str, Any], timeout_seconds: float) -> Iterator[KafkaAdminClient]:
    patience = int(timeout_seconds * 1000)
    admin = KafkaAdminClient(
        **kafka,
        client_id="stationwatch-stack",
        bootstrap_timeout_ms=patience,
        request_timeout_ms=patience,
    )
    try:
        yield admin
    finally:
        admin.close()


def _create(admin: KafkaAdminClient, topics: list[Topic]) -> bool:
    """Create `topics` and return whether nobody else did so at the same time."""
    if not topics:
        return True
    # The replication factor is left to the brokers' default: 1 on the laptop, the plant's own elsewhere.
    wanted = {topic.name: {"num_partitions": topic.partitions, "configs": topic.config} for topic in topics}
    try:
        admin.create_topics(wanted)
    except TopicAlreadyExistsError:
        alone = False
    else:
        alone = True
    admin.wait_for_topics(list(wanted))
    return alone


def _differences(admin: KafkaAdminClient, topics: list[Topic]) -> list[str]:
    if not topics:
        return []
    names = [topic.name for topic in topics]
    partitions = {found["name"]: len(found["partitions"]) for found in admin.describe_topics(names)}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    configs = admin.describe_configs(resources, config_filter="all")["topic"]
    found = []
    for topic in topics:
        if partitions[topic.name] < topic.partitions:
            found.append(f"topic {topic.name} has {partitions[topic.name]} partitions, expected {topic.partitions}")
        for key, expected in topic.config.items():
            got = str(configs[topic.name][key]["value"])
            if got != expected:
                found.append(f"topic {topic.name}: {key} is {got}, expected {expected}")
    return found
