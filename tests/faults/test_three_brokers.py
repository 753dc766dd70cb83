"""Three brokers, each reading on all of them: one is killed under load, and nothing acknowledged is lost."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from kafka.admin import KafkaAdminClient

from core.settings import Settings
from local_stack.downloads.jars import spark_kafka_jars
from local_stack.servers.stack import Stack, endpoints_settings
from tests.conftest import SHORT_LIVED
from tests.faults.proving import finish, hold
from tests.oracle.job import clock_ms, make_schema, stream_of, train
from tests.oracle.ledger import Publisher, chunks
from tests.oracle.stream_input import Shape, plan
from tests.oracle.tables import session_of
from tests.secured import own_topics

SHAPE = Shape(stations=20, ticks=300)

pytestmark = [pytest.mark.timeout(1200), pytest.mark.slow]


def test_a_broker_of_three_is_killed_under_load(history: Path, tmp_path: Path) -> None:
    """Breaks when a topic has one copy, when an acknowledgement means one, or when a client knows one broker only."""
    settings = Settings(_env_file=None, home=tmp_path / "home", kafka_port=0, cassandra_port=0, server_metrics=False)
    stack = Stack(settings, {"kafka": SHORT_LIVED, "cassandra": SHORT_LIVED}, print, brokers=3)
    try:
        mine = own_topics(endpoints_settings(settings, stack.up()), uuid.uuid4().hex[:10])
        assert len(mine.bootstrap_servers.split(",")) == 3 and replicas(mine) == {3}
        lose_a_broker(stack, mine, history, tmp_path / "ledger.jsonl")
    finally:
        stack.down()


def lose_a_broker(stack: Stack, settings: Settings, history: Path, ledger: Path) -> None:
    """Publish; in the middle of it kill the first broker, later start it again; then hold all count checks."""
    jars = ",".join(map(str, spark_kafka_jars(settings.cache)))
    ours = {"spark_jars": jars, "forest_trees": 50, "max_offsets_per_trigger": 1500}
    settings = settings.model_copy(update={**ours, "stream_metrics_port": 0, "api_port": 0})
    make_schema(settings)
    train(settings, history, seed=1)
    parts = list(chunks(plan(SHAPE, clock_ms()), 6))
    with (
        session_of(settings) as session,
        stream_of(settings, session, "stream") as job,
        Publisher(settings.kafka_client_options(), settings.readings_topic, ledger) as publisher,
    ):
        job.start()
        publisher.publish(parts[0])
        job.process.wait_until("some batches", lambda: job.stored() > 0, 300)
        killed = stack.pid("kafka")
        for number, part in enumerate(parts[1:]):
            if number == 1:
                stack.kill("kafka")
            publisher.publish(part)
        job.wait_until_drained()
        assert killed and stack.pid("kafka") is None and stack.pid("kafka-2") and stack.pid("kafka-3")
        assert not publisher.ledger.not_acknowledged(), "two of three brokers take every reading"
        stack.start("kafka")
        finish(job, session)
        hold(session, settings, publisher.ledger)


def replicas(settings: Settings) -> set[int]:
    """How many copies the partitions of the readings topic have."""
    admin = KafkaAdminClient(**settings.kafka_client_options())
    try:
        (topic,) = admin.describe_topics([settings.readings_topic])
        return {len(partition["replica_nodes"]) for partition in topic["partitions"]}
    finally:
        admin.close()
