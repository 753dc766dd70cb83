"""What the stream and the schema command rely on: nothing goes back, one at a time, and outages are waited out."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest

from core.errors import ArtefactRefused, StoreUnavailable, StreamIdentityMismatch
from local_stack.servers.stack import Stack
from storage.commands.copying import Copied, copy_judging
from storage.driver.lease import Holder, acquire, holder, release, renew
from storage.driver.migrations import Migration, SchemaRefused, apply_schema, read_migrations
from storage.driver.retry import SchemaMissing
from storage.driver.session import Store, StoreConfig, connect, connected
from storage.tables.artefacts import put_artefact, put_version, versions
from storage.tables.readings import ReadingRow, readings_of, write_readings
from storage.tables.stream_progress import (
    PartitionProgress,
    StreamIdentity,
    activate,
    activations,
    claim_identity,
    heartbeat,
    mark_complete,
    mark_started,
    progress,
    stream_identity,
)
from tests.keyspaces import Keyspaces
from tests.waiting import PATIENCE_SECONDS, wait_until

NOW = time.time_ns() // 1_000_000
IDENTITY = StreamIdentity("readings", '["temperature"]', 32, 1.0, "ab" * 32, NOW)


@pytest.fixture(scope="module")
def config(keyspaces: Keyspaces) -> Iterator[StoreConfig]:
    with keyspaces.lent() as settings:
        yield StoreConfig.from_settings(settings)


@pytest.fixture(scope="module")
def store(config: StoreConfig) -> Iterator[Store]:
    opened = connect(config)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def other(keyspaces: Keyspaces) -> Iterator[Store]:
    with keyspaces.lent() as settings, closing(connect(StoreConfig.from_settings(settings))) as opened:
        yield opened


def test_the_first_identity_stays(store: Store) -> None:
    """Breaks when a fresh checkpoint with another prior takes over a keyspace."""
    mine = IDENTITY._replace(topic="first")
    assert stream_identity(store, "first") is None
    assert claim_identity(store, mine) == mine
    assert claim_identity(store, mine._replace(shards=16, prior_sha256="cd" * 32)) == mine
    assert stream_identity(store, "first") == mine


def test_of_many_claims_at_once_one_holds(store: Store) -> None:
    """Breaks when two drivers starting together each believe in their own identity."""
    claims = [IDENTITY._replace(topic="many", shards=shards) for shards in range(1, 9)]
    with ThreadPoolExecutor(8) as pool:
        held = set(pool.map(lambda claim: claim_identity(store, claim), claims))
    assert len(held) == 1


def test_progress_never_goes_back(store: Store) -> None:
    """Breaks when a replayed batch, or a write that arrives late, moves complete_to or started_to back."""
    assert progress(store, "p") == ({}, None)
    mark_started(store, "p", {0: 0, 1: 10})
    mark_complete(store, "p", {0: 0}, 3)
    assert progress(store, "p").partitions == {0: PartitionProgress(0, 0, 3), 1: PartitionProgress(None, 10, None)}
    for to in (500, 499, 1, 0, 500):
        mark_started(store, "p", {0: to, 1: to})
        mark_complete(store, "p", {0: to}, 3 if to < 500 else 4)
    heartbeat(store, "p", NOW)
    assert progress(store, "p").partitions == {0: PartitionProgress(500, 500, 4), 1: PartitionProgress(None, 500, None)}
    assert progress(store, "p").heartbeat_ms == NOW
    mark_complete(store, "p", {0: 2**62}, 5)
    assert progress(store, "p").partitions[0].complete_to == 2**62


def test_activations_are_read_by_partition_and_offset(store: Store) -> None:
    """Breaks when a replay would judge an offset with another version than the first time."""
    activate(store, "a", {1: 0, 0: 0}, 1, NOW)
    activate(store, "a", {0: 2000, 1: 90}, 3, NOW)
    stored = activate(store, "a", {0: 100}, 2, NOW)
    assert stored == activations(store, "a") == {0: [(0, 1), (100, 2), (2000, 3)], 1: [(0, 1), (90, 3)]}
    assert activate(store, "a", {0: 2000}, 4, NOW)[0] == [(0, 1), (100, 2), (2000, 4)]


def test_one_owner_holds_the_lease(store: Store) -> None:
    """Breaks when two drivers write at once, or a dead one's lease cannot be had."""
    first, second = ("run-1", "host-a", 11, "file:///c"), ("run-2", "host-b", 22, "file:///c")
    assert acquire(store, "l", *first, 60) is None
    assert acquire(store, "l", *first, 60) is None, "an answer lost on the way must not lock its owner out"
    assert acquire(store, "l", *second, 60) == Holder(*first)
    assert acquire(store, "l", *second, 60, take_over_from="run-0") == Holder(*first)
    assert acquire(store, "l", *second, 60, take_over_from="run-1") is None
    assert renew(store, "l", *first, 60) == Holder(*second)
    release(store, "l", "run-1")
    assert holder(store, "l") == Holder(*second)
    release(store, "l", "run-2")
    assert holder(store, "l") is None
    assert renew(store, "l", *first, 60) is None, "a lapsed lease that nobody took is taken again"


def test_a_lease_that_is_not_renewed_lapses(store: Store) -> None:
    """Breaks when a crashed driver on another machine blocks its successor for ever."""
    assert acquire(store, "t", "run-1", "h", 1, "c", 1) is None
    wait_until(lambda: acquire(store, "t", "run-2", "h", 2, "c", 600) is None, "the lease lapses")
    assert renew(store, "t", "run-1", "h", 1, "c", 600) == Holder("run-2", "h", 2, "c")


def test_copy_judging_carries_everything_and_may_run_again(store: Store, other: Store) -> None:
    """Breaks when a replay into another keyspace judges with other versions, or into a keyspace of another stream."""
    sha256 = put_artefact(store, "detector", b"model" * 1000)
    put_version(store, "m", 1, sha256, "run", NOW)
    claim_identity(store, IDENTITY)
    activate(store, IDENTITY.topic, {0: 0, 1: 5}, 1, NOW)

    for _ in range(2):
        assert copy_judging(store, other).artefacts >= 1
        assert stream_identity(other, IDENTITY.topic) == IDENTITY
        assert activations(other, IDENTITY.topic) == {0: [(0, 1)], 1: [(5, 1)]}
        assert versions(other, "m") == versions(store, "m")

    activate(other, IDENTITY.topic, {0: 77}, 9, NOW)
    with pytest.raises(StreamIdentityMismatch, match=r"\(77, 9\)"):
        copy_judging(store, other)


def test_copy_judging_refuses_another_identity_and_writes_its_own_last(keyspaces: Keyspaces, other: Store) -> None:
    """Breaks when a copy that failed half-way leaves a keyspace that a stream would start in."""
    with keyspaces.lent() as third, closing(connect(StoreConfig.from_settings(third))) as source:
        claim_identity(source, IDENTITY._replace(topic="half"))
        sha256 = put_artefact(source, "prior", b"p" * 100)
        source.one("UPDATE model_artifacts SET data = ? WHERE sha256 = ? AND chunk = ?", (b"bad", sha256, 0))
        with pytest.raises(ArtefactRefused):
            copy_judging(source, other)
        assert stream_identity(other, "half") is None
        source.one("DELETE FROM model_artifacts WHERE sha256 = ?", (sha256,))
        assert copy_judging(source, other) == Copied(0, 0, 0, 1)
        claim_identity(other, IDENTITY._replace(topic="half-two", shards=4))
        claim_identity(source, IDENTITY._replace(topic="half-two"))
        with pytest.raises(StreamIdentityMismatch, match="half-two"):
            copy_judging(source, other)


def test_schema_commands_at_once_agree(config: StoreConfig) -> None:
    """Breaks when two processes that start together spoil each other's tables."""
    fresh = replace(config, keyspace="schema_race")
    with ThreadPoolExecutor(3) as pool:
        applied = [
            name
            for names in pool.map(lambda _: apply_schema(fresh, read_migrations(), NOW), range(3))
            for name in names
        ]
    assert sorted(applied) == [migration.name for migration in read_migrations()]
    assert apply_schema(fresh, read_migrations(), NOW) == []


def test_schema_refuses_what_it_does_not_know(config: StoreConfig) -> None:
    """Breaks when an older program works on a newer keyspace, or an edited migration goes unnoticed."""
    fresh = replace(config, keyspace="schema_refused")
    first, *_ = read_migrations()
    newer = Migration(2, "002_more", "CREATE TABLE IF NOT EXISTS more (a int PRIMARY KEY);")
    assert apply_schema(fresh, [first, newer], NOW) == [first.name, newer.name]
    with pytest.raises(SchemaRefused, match=r"holds schema 2 \(002_more\).*up to 1"):
        apply_schema(fresh, [first], NOW)
    with pytest.raises(SchemaRefused, match="002_more differs"):
        apply_schema(fresh, [first, replace(newer, text=newer.text + "\n-- edited")], NOW)


def test_days_to_keep_follow_the_settings(config: StoreConfig) -> None:
    """Breaks when a shorter time to live is set and the tables go on keeping rows as before."""
    fresh = replace(config, keyspace="schema_ttl")
    first, *_ = read_migrations()
    apply_schema(fresh, [first], NOW)
    apply_schema(replace(fresh, readings_ttl_days=3), [first], NOW)
    opened = connect(fresh)
    query = "SELECT default_time_to_live FROM system_schema.tables WHERE keyspace_name = ? AND table_name = ?"
    assert opened.one(query, (fresh.keyspace, "readings")) == (3 * 86_400,)
    opened.close()


def test_a_forgotten_schema_is_named(config: StoreConfig) -> None:
    """Breaks when the first start without tables ends in the driver's error, or waits as if Cassandra were away."""
    with pytest.raises(SchemaMissing, match="python -m storage schema"):
        connect(replace(config, keyspace="never_made"))
    opened = connect(replace(config, keyspace="schema_refused"))
    with pytest.raises(SchemaMissing, match="python -m storage schema"):
        activations(opened, "readings")
    opened.close()


def test_a_forked_child_opens_a_store_of_its_own(config: StoreConfig) -> None:
    """Breaks when Spark's forked workers or a pre-fork server share sockets and hang."""
    mine = connected(config)
    assert connected(config) is mine
    assert stream_identity(mine, "nothing") is None
    child = os.fork()
    if child == 0:  # pragma: no cover
        own = connected(config)
        answered = own is not mine and stream_identity(own, "nothing") is None
        os._exit(0 if answered else 1)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, 9)
        threading.Event().wait(0.05)
    assert os.waitstatus_to_exitcode(ended[1]) == 0
    assert stream_identity(mine, "nothing") is None


def rows(count: int, station_id: str) -> list[ReadingRow]:
    return [
        ReadingRow(station_id, NOW + at, at, {"noise": 1.0}, 0.1, 0.0, 0, 1, 0, at, NOW, NOW) for at in range(count)
    ]


def test_writing_waits_for_a_paused_cassandra(stack: Stack, config: StoreConfig) -> None:
    """Breaks when a pause loses or doubles readings, or a process does not say that it waits."""
    opened = connect(replace(config, request_timeout_seconds=2.0))
    wanted, waits = rows(3000, "paused"), []
    stack.pause("cassandra")
    resumed = threading.Timer(6.0, stack.resume, ("cassandra",))
    resumed.start()
    try:
        with pytest.raises(StoreUnavailable):
            list(readings_of(opened, "paused", NOW, NOW + 1))
        write_readings(opened, wanted, 90.0, lambda error, pause: waits.append(error))
    finally:
        resumed.join()
    assert list(readings_of(opened, "paused", NOW, NOW + 3000)) == wanted
    assert all(isinstance(error, StoreUnavailable) for error in waits)
    assert waits
    opened.close()


def test_a_killed_cassandra_is_found_again(stack: Stack, config: StoreConfig) -> None:
    """Breaks when a restart of Cassandra ends the stream, or an acknowledged row is gone after it."""
    opened = connect(config)
    before, wanted = rows(500, "killed-before"), rows(500, "killed")
    write_readings(opened, before)
    stack.kill("cassandra")
    with pytest.raises(StoreUnavailable):
        write_readings(opened, wanted, 1.0)
    with pytest.raises(StoreUnavailable):
        connect(config, 0.5)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write_readings, opened, wanted, 120.0)
        stack.start("cassandra")
        writing.result(timeout=130)
    assert list(readings_of(opened, "killed", NOW, NOW + 500)) == wanted
    assert list(readings_of(opened, "killed-before", NOW, NOW + 500)) == before
    opened.close()
