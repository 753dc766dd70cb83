"""The local servers, for real: readiness, kill -9, pauses, two copies side by side, Ctrl-C, crashes, topics."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import RoundRobinPolicy
from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient

from core.settings import PREFIX, Settings
from local_stack.errors import StackError
from local_stack.servers.stack import Stack
from local_stack.servers.topics import broker_answers, create_topics, wanted_topics
from storage.driver.ready import answers
from storage.driver.session import StoreConfig
from tests.paths import ROOT
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def running(stack: Stack) -> Iterator[Stack]:
    """The shared servers for a test that hurts them: both run again afterwards."""
    yield stack
    for name in stack.servers:
        stack.resume(name)
    stack.up()


def test_both_servers_answer_and_topics_are_as_wanted(stack: Stack, settings: Settings) -> None:
    """Breaks when `up` returns before the servers serve, or creates topics with other settings than it asks for."""
    endpoints = stack.endpoints()
    assert broker_answers({"bootstrap_servers": endpoints.kafka}, 10.0)
    assert answers(StoreConfig(port=endpoints.cassandra_port), 10.0)
    assert create_topics(settings) == []
    assert all(well for _, well in stack.status())


def test_up_twice_is_harmless(stack: Stack) -> None:
    """Breaks when a second `up` starts a second pair, or restarts the first."""
    before = (stack.pid("kafka"), stack.pid("cassandra"), stack.endpoints())
    stack.up()
    assert (stack.pid("kafka"), stack.pid("cassandra"), stack.endpoints()) == before


def test_nothing_acknowledged_is_lost_by_kill_9(running: Stack, settings: Settings) -> None:
    """Breaks when Cassandra syncs its commit log late, or a server comes back on another port or without its data."""
    endpoints = running.endpoints()
    with _cluster(endpoints.cassandra_port) as cluster:
        session = cluster.connect()
        keyspace = settings.cassandra_keyspace
        session.execute(
            f"CREATE KEYSPACE {keyspace} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
        )
        session.execute(f"CREATE TABLE {keyspace}.numbers (n int PRIMARY KEY)")
        insert = session.prepare(f"INSERT INTO {keyspace}.numbers (n) VALUES (?)")
        for number in range(200):
            session.execute(insert, (number,))
        running.kill("cassandra")
    with KafkaProducer(bootstrap_servers=endpoints.kafka, acks="all") as producer:
        sent = [producer.send(settings.readings_topic, str(number).encode()) for number in range(200)]
        assert len({(place.partition, place.offset) for place in (future.get(30) for future in sent)}) == 200
        running.kill("kafka")
    assert running.pid("kafka") is None and running.pid("cassandra") is None
    assert [well for _, well in running.status()] == [False, False]
    assert all("`down` did not stop it" in line and ".log" in line for line, _ in running.status())

    running.start("cassandra")
    running.start("kafka")

    assert running.endpoints() == endpoints
    with _cluster(endpoints.cassandra_port) as cluster:
        rows = cluster.connect().execute(f"SELECT n FROM {keyspace}.numbers")  # noqa: S608
        assert sorted(row.n for row in rows) == list(range(200))
    assert sorted(_values(endpoints.kafka, settings.readings_topic, 200)) == list(range(200))


@pytest.mark.parametrize("name", ["kafka", "cassandra"])
def test_a_paused_server_is_seen_and_resumes(running: Stack, name: str) -> None:
    """Breaks when status takes an open port for an answer, or `resume` does not bring the server back."""
    line = list(running.servers).index(name)
    running.pause(name)
    assert not running.status()[line][1]
    running.resume(name)
    wait_until(lambda: running.status()[line][1], f"{name} answers again")


def test_two_copies_run_side_by_side(stack: Stack, tmp_path: Path) -> None:
    """Breaks when two checkouts share a port (Cassandra's storage port among them), or one stops the other's."""
    assert _command("up", tmp_path).returncode == 0
    try:
        other = json.loads((tmp_path / "home" / "stack" / "endpoints.json").read_text())
        mine = stack.endpoints()
        assert other["kafka"] != mine.kafka and other["cassandra_port"] != mine.cassandra_port
        assert broker_answers({"bootstrap_servers": other["kafka"]}, 10.0)
        assert answers(StoreConfig(port=other["cassandra_port"]), 10.0)
        assert _command("status", tmp_path).returncode == 0
        assert "kafka.log" in _command("logs", tmp_path).stdout
        assert _command("reset", tmp_path).returncode == 1, "it must ask for --yes"
    finally:
        stopped = _command("reset", tmp_path, "--yes")
    assert stopped.returncode == 0
    assert _command("status", tmp_path).returncode == 1
    assert not (tmp_path / "home" / "stack" / "cassandra").exists()
    assert all(well for _, well in stack.status())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_cut_short_leaves_no_orphan(stack: Stack, tmp_path: Path, number: signal.Signals) -> None:
    """Breaks when Ctrl-C during `up` leaves a JVM behind."""
    record = tmp_path / "home" / "stack" / "cassandra" / "process.json"
    with subprocess.Popen([sys.executable, "-m", "local_stack", "up"], cwd=tmp_path, env=_environment(tmp_path)) as up:
        wait_until(record.exists, "Cassandra is started")
        pid = json.loads(record.read_text())["pid"]
        assert psutil.pid_exists(pid)
        up.send_signal(number)
        assert up.wait(60) == 130
    left = [process.cmdline() for process in psutil.process_iter() if _belongs_to(process, tmp_path)]
    assert left == []


def test_a_crash_is_reported_with_the_last_lines(stack: Stack, tmp_path: Path) -> None:
    """Breaks when a server that cannot start is waited for, or its reason must be looked for."""
    mine = Settings(
        _env_file=None,
        home=tmp_path,
        kafka_port=0,
        cassandra_hosts="127.0.0.1",
        cassandra_port=stack.endpoints().cassandra_port,
    )
    broken = Stack(mine, java_options={"kafka": ["-XX:NoSuchOption=1"]})
    with pytest.raises(StackError, match=r"kafka stopped while starting[\s\S]*NoSuchOption"):
        broken.up()
    assert broken.pid("kafka") is None


def test_a_topic_that_differs_is_reported_and_not_changed(stack: Stack, settings: Settings) -> None:
    """Breaks when a user's own topic is altered, or its CreateTime and lacking partitions go unsaid."""
    theirs = settings.model_copy(update={"readings_topic": f"theirs-{uuid.uuid4().hex[:8]}"})
    admin = KafkaAdminClient(bootstrap_servers=stack.endpoints().kafka)
    try:
        admin.create_topics({theirs.readings_topic: {"num_partitions": 1}})
        told = create_topics(theirs)
        assert f"topic {theirs.readings_topic} has 1 partitions, expected 4" in told
        assert any("message.timestamp.type is CreateTime, expected LogAppendTime" in line for line in told)
        assert create_topics(theirs) == told
    finally:
        admin.close()


def test_the_largest_reading_fits_among_the_dead_letters(stack: Stack, settings: Settings) -> None:
    """Breaks when a record that Kafka took cannot be set aside, and stops the stream for ever."""
    largest = b"x" * (1_048_588 - 100)
    headers = [("reason", b"too_large"), ("detail", b"y" * 1000), ("topic", settings.readings_topic.encode())]
    with KafkaProducer(bootstrap_servers=stack.endpoints().kafka, max_request_size=2_000_000) as producer:
        assert producer.send(settings.readings_topic, largest).get(30).offset == 0
        assert producer.send(settings.rejected_topic, largest, headers=headers).get(30).offset == 0
    assert len(wanted_topics(settings)) == 3


def _cluster(port: int) -> Cluster:
    profile = ExecutionProfile(load_balancing_policy=RoundRobinPolicy(), request_timeout=30.0)
    return Cluster(["127.0.0.1"], port=port, protocol_version=4, execution_profiles={EXEC_PROFILE_DEFAULT: profile})


def _values(bootstrap: str, topic: str, count: int) -> list[int]:
    consumer = KafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", group_id=None)
    values: list[int] = []
    try:
        deadline = time.monotonic() + 60
        while len(values) < count and time.monotonic() < deadline:
            for batch in consumer.poll(1000).values():
                values += [int(taken.value) for taken in batch]
    finally:
        consumer.close()
    return values


def _environment(folder: Path) -> dict[str, str]:
    mine = {"HOME": folder / "home", "KAFKA_PORT": 0, "CASSANDRA_PORT": 0, "CASSANDRA_HEAP_MB": 384}
    return {**os.environ, "PYTHONPATH": str(ROOT), **{PREFIX + name: str(value) for name, value in mine.items()}}


def _command(verb: str, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "local_stack", verb, *more]
    return subprocess.run(
        command, cwd=folder, env=_environment(folder), capture_output=True, text=True, timeout=240, check=False
    )


def _belongs_to(process: psutil.Process, folder: Path) -> bool:
    try:
        return any(str(folder) in word for word in process.cmdline())
    except psutil.Error:
        return False
