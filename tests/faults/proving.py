"""The end of every fault test: drain, flush, and hold all count checks."""

from __future__ import annotations

from cassandra.cluster import Session

from core.settings import Settings
from local_stack.servers.topics import create_topics
from tests.oracle import checks
from tests.oracle.job import Job, api_of, rows_of
from tests.oracle.judging import stored_judging
from tests.oracle.kafka_log import read_topic
from tests.oracle.ledger import Ledger
from tests.oracle.proof import Evidence, gather, violations
from tests.oracle.stations import expect

FLUSH_SECONDS = 90


def finish(job: Job, session: Session) -> None:
    """Wait until all is stored and the stations' rows are written, then stop."""
    settings = job.settings
    job.wait_until_drained()
    expected = expect(read_topic(settings.kafka_client_options(), settings.readings_topic), settings.sensors)
    job.process.wait_until(
        "final flush of the stations",
        lambda: checks.stations(expected, rows_of(session, settings, "stations")) == [],
        FLUSH_SECONDS,
    )
    job.stop()


def hold(session: Session, settings: Settings, ledger: Ledger) -> Evidence:
    """All count checks hold on one keyspace."""
    evidence = gather(session, settings)
    with api_of(settings) as url:
        found = violations(evidence, ledger, stored_judging(session, settings), url)
    assert found == [], "\n".join(found)
    return evidence


def twin_of(settings: Settings) -> Settings:
    """The same stream, written elsewhere: another keyspace, dead-letter topic, checkpoint and home."""
    twin = settings.model_copy(
        update={
            "cassandra_keyspace": f"{settings.cassandra_keyspace}_replay",
            "rejected_topic": f"{settings.rejected_topic}.replay",
            "checkpoint": str(settings.home / "checkpoint-replay"),
        }
    )
    create_topics(twin)
    return twin
