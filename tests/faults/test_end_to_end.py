"""Nothing lost, nothing doubled: a labelled run on real Kafka, Spark and Cassandra, with kills, a swap, a replay."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from cassandra.cluster import Session

from core.settings import Settings
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
from tests.oracle.keyspaces import equal_keyspaces
from tests.oracle.ledger import Ledger, Publisher, chunks
from tests.oracle.proof import Evidence, gather, violations
from tests.oracle.stream_input import Planned, Shape, plan

SHAPE = Shape(stations=40, ticks=500)
PARTS = 5
SWAP_SECONDS = 120

pytestmark = pytest.mark.timeout(1800)


def test_nothing_is_lost_and_nothing_doubled(
    proof_settings: Settings, session: Session, history: Path, tmp_path: Path
) -> None:
    """Breaks when a kill, a model swap, bad or repeated input, or a replay changes what is stored by a single row."""
    settings = proof_settings
    make_schema(settings)
    train(settings, history, seed=1)
    with stream_of(settings, session, "stream") as job:
        ledger = publish_with_harm(job, settings, history, tmp_path / "ledger.jsonl")
        finish(job, session)
        evidence = hold(session, settings, ledger)
    assert_run_was_worth_it(evidence, ledger)

    replayed = twin_of(settings)
    copy_judging(settings, replayed.cassandra_keyspace)
    with stream_of(replayed, session, "replay") as job:
        job.start()
        finish(job, session)
        hold(session, replayed, ledger)
    assert equal_keyspaces(session, settings.cassandra_keyspace, replayed.cassandra_keyspace) == []

    assert_harm_is_noticed(session, settings, ledger)


def publish_with_harm(job: Job, settings: Settings, history: Path, ledger: Path) -> Ledger:
    """Publish the run in parts; kill the driver, the workers, and swap the model in between."""
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
        train(settings, history, seed=2)
        swap(job, publisher, parts[3])
        publisher.publish(parts[4])
        job.kill_in_a_batch()
        job.start()
        job.wait_until_drained()
        return publisher.ledger


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


def assert_harm_is_noticed(session: Session, settings: Settings, ledger: Ledger) -> None:
    """C10: each harm done to the real tables is found by the check that should find it."""
    judging = stored_judging(session, settings)
    for kind in corrupt.KINDS:
        undo = corrupt.corrupt(session, settings, kind)
        found = violations(gather(session, settings), ledger, judging)
        for check in corrupt.NOTICED_BY[kind]:
            assert any(violation.startswith(check) for violation in found), f"{kind}: {check} noticed nothing, {found}"
        undo()
    rest = violations(gather(session, settings), ledger, judging)
    assert all(violation.startswith("C5") for violation in rest), rest
