"""What `up` needs before it starts anything: Java, ports, settings, topics."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from core.settings import PREFIX, Settings
from local_stack.downloads.java import find_java
from local_stack.errors import StackError
from local_stack.servers import server
from local_stack.servers.ports import HOST, free_ports, is_taken
from local_stack.servers.stack import Endpoints, Stack, endpoints_env, endpoints_settings
from local_stack.servers.topics import wanted_topics


def _fake_java(folder: Path, version: str) -> None:
    java = folder / "bin" / "java"
    java.parent.mkdir()
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-04-15' >&2\n")
    java.chmod(0o755)


@pytest.mark.parametrize(
    ("version", "found"), [("21.0.2", "21"), ("11.0.27", "11"), ("1.8.0_402", "8"), ("?", "an un")]
)
def test_another_java_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, found: str) -> None:
    """Breaks when Cassandra dies with a stack trace on a Java it does not know."""
    _fake_java(tmp_path, version)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(StackError, match=rf"Java 17 is needed, found {found}.*JAVA_HOME"):
        find_java()


def test_java_17_of_java_home_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when PATH wins over JAVA_HOME."""
    _fake_java(tmp_path, "17.0.15")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert find_java() == str(tmp_path / "bin" / "java")


def test_no_java_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when a machine without Java shows a traceback."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match="found none at PATH"):
        find_java()


def test_free_ports_differ_and_lie_below_the_ephemeral_ones() -> None:
    """Breaks when a client that reconnects to a killed server can be given the server's own port."""
    found = [*free_ports(10), *(port for _ in range(10) for port in free_ports(1))]
    assert len(set(found)) == 20
    assert all(15_000 <= port < 32_768 and not is_taken(port) for port in found)


def test_a_taken_port_is_named_with_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when the user must find out from a Java stack trace who has port 9092, and where to change it."""
    monkeypatch.setattr(server, "jars", lambda name, cache: [])
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        mine = Settings(_env_file=None, home=tmp_path, kafka_port=port, cassandra_hosts="cassandra.example")
        with pytest.raises(StackError, match=rf"kafka: port {port} is taken by .*STATIONWATCH_KAFKA_PORT"):
            Stack(mine).up()


def test_own_servers_are_left_alone(tmp_path: Path) -> None:
    """Breaks when `up` starts a broker beside the plant's own."""
    mine = Settings(_env_file=None, home=tmp_path, kafka_bootstrap="a:1,b:2", cassandra_hosts="c", cassandra_port=3)
    stack = Stack(mine)
    assert stack.servers == {}
    assert stack.endpoints() == Endpoints("a:1,b:2", "c", 3)
    with pytest.raises(StackError, match="no local server 'kafka'"):
        stack.kill("kafka")


def test_children_find_the_servers_by_their_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when a variable that children are given is none that the settings read."""
    endpoints = Endpoints("127.0.0.1:19092", "127.0.0.1", 19042)
    for name, value in endpoints_env(endpoints).items():
        monkeypatch.setenv(name, value)
    child = Settings(_env_file=None)
    assert child.bootstrap_servers == "127.0.0.1:19092"
    assert (child.contact_points, child.cassandra_port) == (["127.0.0.1"], 19042)
    assert endpoints_settings(Settings(_env_file=None), endpoints).bootstrap_servers == "127.0.0.1:19092"
    assert all(name.startswith(PREFIX) for name in endpoints_env(endpoints))


def test_topics_carry_what_the_stream_relies_on() -> None:
    """Breaks when the broker's time is not the record time, or a dead letter of the largest record does not fit."""
    mine = Settings(_env_file=None, topic_partitions=7, topic_retention_hours=48, readings_ttl_days=1)
    readings, rejected, labels = wanted_topics(mine)
    assert (readings.name, readings.partitions) == ("readings", 7)
    assert readings.config["message.timestamp.type"] == "LogAppendTime"
    assert readings.config["retention.ms"] == str(48 * 3600 * 1000)
    assert int(rejected.config["max.message.bytes"]) > 1_048_588
    assert int(rejected.config["retention.ms"]) >= int(readings.config["retention.ms"])
    assert labels.name == mine.labels_topic
