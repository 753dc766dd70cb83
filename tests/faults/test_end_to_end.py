"""Nothing lost, nothing doubled: a labelled run on real Kafka, Spark and Cassandra.

One run meets everything in turn, since starting Spark and reading all back costs more than the harm itself: the driver
and its workers are killed, Cassandra is away for a minute and Kafka for half of one, the model is swapped.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from cassandra import OperationTimedOut
from cassandra.cluster import NoHostAvailable, Session

from core.settings import Settings
from local_stack.servers.stack import Stack
from tests.faults.proving import finish, hold, twin_of
from tests.oracle import corrupt
from tests.oracle.job import (
    DRAIN_SECONDS,
    Job,
    clock_ms,
    copy_judging,
    make_schema,
    rows_of,
    stream_of,
    train,
)
from tests.oracle.judging import stored_judging
from tests.oracle.kafka_log import read_topic
from tests.oracle.keyspaces import equal_keyspaces
from tests.oracle.ledger import Ledger, Publisher, chunks
from tests.oracle.proof import Evidence, violations
from tests.oracle.stream_input import Planned, Shape, plan

SHAPE = Shape(stations=40, ticks=500)
PARTS = 7
SWAP_SECONDS = 120
CASSANDRA_AWAY_SECONDS = 60.0  # as long as faults.md asks of `make test` (F34)
KAFKA_AWAY_SECONDS = 30.0  # F16

pytestmark = pytest.mark.timeout(1800)


def test_nothing_is_lost_and_nothing_doubled(
    stack: Stack, proof_settings: Settings, session: Session, history: Path, tmp_path: Path
) -> None:
    """Breaks when a kill, an outage, a model swap, bad or repeated input, or a replay changes a single stored row."""
    settings = proof_settings
    make_schema(settings)
    train(settings, history, seed=1)
    with stream_of(settings, session, "stream") as job:
        ledger = publish_with_harm(job, stack, history, tmp_path / "ledger.jsonl")
        finish(job, session)

    replayed = twin_of(settings)
    copy_judging(settings, replayed.cassandra_keyspace)
    with stream_of(replayed, session, "replay") as job:
        job.start()
        # Meanwhile: the replay touches nothing of the first keyspace.
        evidence = hold(session, settings, ledger)
        assert_run_was_worth_it(evidence, ledger)
        finish(job, session)
        hold(session, replayed, ledger)
    assert equal_keyspaces(session, settings.cassandra_keyspace, replayed.cassandra_keyspace) == []

    assert_harm_is_noticed(session, evidence, ledger)


def publish_with_harm(job: Job, stack: Stack, history: Path, ledger: Path) -> Ledger:
    """Publish the run in parts; kill the driver and the workers, take the servers away, swap the model in between."""
    settings = job.settings
    parts = list(chunks(plan(SHAPE, clock_ms()), PARTS))
    with Publisher(settings.kafka_client_options(), settings.readings_topic, ledger) as publisher:
        publisher.publish(parts[0])
        job.start()
        job.kill_in_a_batch()  # its first: nothing but the checkpoint's offsets is there
        job.start()
        publisher.publish(parts[1])
        job.process.wait_until("some batches", lambda: job.stored() > len(parts[0]), DRAIN_SECONDS)
        job.kill_in_a_batch()
        publisher.publish(parts[2])
        job.start()
        assert job.kill_workers_in_a_batch(), "there was no worker to kill"
        job.wait_until_drained()
        live_through_outages(job, stack, publisher, parts[3], parts[4])
        train(settings, history, seed=2)
        swap(job, publisher, parts[5])
        publisher.publish(parts[6])
        job.kill_in_a_batch()
        job.start()
        job.wait_until_drained()
        return publisher.ledger


def live_through_outages(
    job: Job, stack: Stack, publisher: Publisher, during: Sequence[Planned], after: Sequence[Planned]
) -> None:
    """Kill Cassandra under load, then Kafka; the query must start again by itself, and the job not end."""
    stack.kill("cassandra")
    publisher.publish(during)
    time.sleep(CASSANDRA_AWAY_SECONDS)
    stack.start("cassandra")
    job.process.wait_until("session of the oracle", lambda: answers(job.session), DRAIN_SECONDS)
    job.wait_until_drained()
    stack.kill("kafka")
    time.sleep(KAFKA_AWAY_SECONDS)
    stack.start("kafka")
    publisher.publish(after)
    job.wait_until_drained()
    assert job.process.alive(), "the job must live through both"


def answers(session: Session) -> bool:
    """Whether the oracle's own connection works."""
    try:
        session.execute("SELECT release_version FROM system.local")
    except (NoHostAvailable, OperationTimedOut):
        return False
    return True


def swap(job: Job, publisher: Publisher, part: Sequence[Planned]) -> None:
    """Publish on until the second version is active: the swap falls between two batches of readings."""
    pieces = iter(list(chunks(part, 20)))

    def swapped() -> bool:
        for piece in pieces:
            publisher.publish(piece)
            break
        rows = rows_of(job.session, job.settings, "model_activations")
        return any(row["model_version"] == 2 for row in rows)

    job.process.wait_until("swap to version 2", swapped, SWAP_SECONDS)
    for piece in pieces:
        publisher.publish(piece)


def assert_run_was_worth_it(evidence: Evidence, ledger: Ledger) -> None:
    """The run held what it is to prove: enough readings, every trouble, both versions, anomalies of both."""
    expected, labels = evidence.expected, ledger.labels()
    assert len(expected.stored()) >= 20_000
    assert labels["bad"] >= 0.05 * SHAPE.stations * SHAPE.ticks
    assert len(expected.of("duplicate")) >= 0.04 * SHAPE.stations * SHAPE.ticks
    assert labels["conflict"] > 50
    assert sum(decision.reasons == {"id_conflict"} for decision in expected.of("dead")) == labels["conflict"]
    assert min(labels[label] for label in ("late", "hours late", "ahead")) > 0
    assert sum(decision.late for decision in expected.decisions) > labels["late"]
    assert len(expected.closed) >= SHAPE.stations * 3
    anomalies = evidence.tables["anomalies_by_time"]
    assert {row["model_version"] for row in anomalies} == {1, 2}
    assert len(anomalies) > 50


def assert_harm_is_noticed(session: Session, evidence: Evidence, ledger: Ledger) -> None:
    """C10: each harm done to the real tables is found by the check that should find it."""
    settings = evidence.settings
    judging = stored_judging(session, settings)
    for kind in corrupt.KINDS:
        undo = corrupt.corrupt(session, settings, kind)
        found = violations(read_again(session, evidence), ledger, judging)
        for check in corrupt.NOTICED_BY[kind]:
            assert any(violation.startswith(check) for violation in found), f"{kind}: {check} noticed nothing, {found}"
        undo()
    rest = violations(read_again(session, evidence), ledger, judging)
    assert all(violation.startswith("C5") for violation in rest), rest


def read_again(session: Session, evidence: Evidence) -> Evidence:
    """The evidence, with what the harm reaches read back once more: the readings and the dead letters."""
    settings = evidence.settings
    return replace(
        evidence,
        rejected=read_topic(settings.kafka_client_options(), settings.rejected_topic),
        tables={**evidence.tables, "readings": rows_of(session, settings, "readings")},
    )
