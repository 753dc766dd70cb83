"""A minute without Cassandra and a minute without Kafka: the stream waits, says so, and loses nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cassandra import OperationTimedOut
from cassandra.cluster import NoHostAvailable, Session

from core.settings import Settings
from local_stack.servers.stack import Stack
from tests.faults.proving import finish, hold
from tests.oracle.job import clock_ms, make_schema, stream_of, train
from tests.oracle.ledger import Publisher, chunks
from tests.oracle.stream_input import Shape, plan

OUTAGE_SECONDS = 60.0  # as long as faults.md asks of `make test`
SHAPE = Shape(stations=10, ticks=120)

pytestmark = pytest.mark.timeout(1200)


def test_a_minute_without_cassandra_and_without_kafka_loses_nothing(
    stack: Stack, proof_settings: Settings, session: Session, history: Path, tmp_path: Path
) -> None:
    """Breaks when a write is given up, or when the query does not start again by itself."""
    settings = proof_settings
    make_schema(settings)
    train(settings, history, seed=1)
    before, during, after = chunks(plan(SHAPE, clock_ms()), 3)
    with (
        stream_of(settings, session, "outages") as job,
        Publisher(settings.kafka_client_options(), settings.readings_topic, tmp_path / "ledger.jsonl") as publisher,
    ):
        job.start()
        publisher.publish(before)
        job.wait_until_drained()
        stack.kill("cassandra")
        publisher.publish(during)
        time.sleep(OUTAGE_SECONDS)
        stack.start("cassandra")
        job.process.wait_until("the oracle's session is back", lambda: answers(session), 240)
        job.wait_until_drained()
        stack.kill("kafka")
        time.sleep(OUTAGE_SECONDS)
        stack.start("kafka")
        publisher.publish(after)
        job.wait_until_drained()
        assert job.process.alive(), "the job must live through both"
        finish(job, session)
        hold(session, settings, publisher.ledger)


def answers(session: Session) -> bool:
    """Whether the oracle's own connection works."""
    try:
        session.execute("SELECT release_version FROM system.local")
    except (NoHostAvailable, OperationTimedOut):
        return False
    return True
