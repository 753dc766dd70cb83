"""The simulator against a real broker: what it says it delivered is there, through kills, pauses and signals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from kafka import KafkaConsumer, TopicPartition

from core.settings import PREFIX, Settings
from iot_simulator.publisher import Publisher
from local_stack.servers.stack import Stack
from tests.waiting import PATIENCE_SECONDS, wait_until

COUNTS = re.compile(r"^sent=(\d+) acknowledged=(\d+) failed=(\d+)$", re.MULTILINE)
Row = tuple[bytes, dict]


def simulator(settings: Settings, *arguments: str, **more: str) -> subprocess.Popen[str]:
    variables = {
        "KAFKA_BOOTSTRAP": settings.bootstrap_servers,
        "READINGS_TOPIC": settings.readings_topic,
        "LABELS_TOPIC": settings.labels_topic,
        **more,
    }
    environment = {**os.environ, **{PREFIX + name: value for name, value in variables.items()}}
    command = [sys.executable, "-m", "iot_simulator", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@contextmanager
def running(settings: Settings, *arguments: str, **more: str) -> Iterator[subprocess.Popen[str]]:
    process = simulator(settings, *arguments, **more)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def counts(output: str) -> tuple[int, int, int]:
    found = COUNTS.search(output)
    assert found, output
    sent, acknowledged, failed = (int(number) for number in found.groups())
    return sent, acknowledged, failed


def stored(settings: Settings, topic: str) -> list[Row]:
    """Every (key, decoded value) of a topic, read by a consumer of its own."""
    consumer = KafkaConsumer(**settings.kafka_client_options(), auto_offset_reset="earliest")
    try:
        parts = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
        consumer.assign(parts)
        ends, rows = consumer.end_offsets(parts), []
        deadline = time.monotonic() + PATIENCE_SECONDS
        while any(consumer.position(part) < ends[part] for part in parts):
            assert time.monotonic() < deadline, "the topic could not be read to its end"
            for batch in consumer.poll(timeout_ms=500).values():
                rows += [(entry.key, msgspec.json.decode(entry.value)) for entry in batch]
        return rows
    finally:
        consumer.close()


def identities(rows: list[Row]) -> set[tuple[str, str, int]]:
    return {(value["station_id"], value["event_time"], value["seq"]) for _, value in rows}


def test_every_reading_arrives_once_under_its_station(settings: Settings) -> None:
    """Breaks if readings are lost, doubled or keyed otherwise, or a label gets into a reading or to nowhere."""
    fault = "station-0003:humidity:dropout:+1s:2s:5"
    arguments = ["--stations", "40", "--duration", "4s", "--cadence", "200ms", "--fault-rate", "0", "--fault", fault]
    with running(settings, *arguments) as process:
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, output
    assert counts(output) == (800, 800, 0)
    rows = stored(settings, settings.readings_topic)
    assert len(rows) == len(identities(rows)) == 800
    assert all(key.decode() == value["station_id"] for key, value in rows)
    fields = {"schema_version", "station_id", "event_time", "seq", "temperature", "humidity", "noise"}
    assert {frozenset(value) for _, value in rows} == {frozenset(fields)}

    ((key, label),) = stored(settings, settings.labels_topic)
    assert key == b"station-0003" and (label["kind"], label["sensor"]) == ("dropout", "humidity")
    missing = sorted(value["event_time"] for _, value in rows if value["humidity"] is None)
    assert len(missing) == 10 and missing[0][:19] == label["start"][:19]


def test_replicas_share_the_stations(settings: Settings) -> None:
    """Breaks if two replicas send the same station, or one of them is sent by none."""
    arguments = ["--stations", "7", "--replicas", "2", "--duration", "1s", "--fault-rate", "0"]
    outputs = []
    for replica in ("0", "1"):
        with running(settings, *arguments, "--replica", replica) as process:
            outputs.append(process.communicate(timeout=PATIENCE_SECONDS)[0])
    assert [counts(output)[1] for output in outputs] == [3, 4]
    stations = {key.decode() for key, _ in stored(settings, settings.readings_topic)}
    assert stations == {f"station-{number:04d}" for number in range(7)}


def test_sigterm_flushes(settings: Settings) -> None:
    """Breaks if a stopped simulator leaves readings behind in its buffer or does not say what it sent."""
    with running(settings, "--stations", "200", "--cadence", "100ms") as process:
        wait_until(lambda: len(stored(settings, settings.readings_topic)) > 1000, "a thousand readings")
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    sent, acknowledged, failed = counts(output)
    assert (process.returncode, acknowledged, failed) == (0, sent, 0)
    assert len(identities(stored(settings, settings.readings_topic))) == sent


def test_a_broker_that_never_was_does_not_hold_it(settings: Settings) -> None:
    """Breaks if a simulator that waits for its broker cannot be stopped, or waits without a word."""
    with running(settings, KAFKA_BOOTSTRAP="127.0.0.1:1") as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert "does not answer" in said and counts(output) == (0, 0, 0)


def test_a_recording_is_replayed_whole(settings: Settings, tmp_path: Path) -> None:
    """Breaks if replay loses readings or puts one into the future."""
    path = tmp_path / "r.csv"
    lines = [f"pump,2014-03-07 {n // 60:02d}:{n % 60:02d}:00,{n / 10}" for n in range(300)]
    path.write_text("\n".join(["station_id,event_time,latency", *lines]) + "\n")
    with running(settings, "replay", str(path), "--speed", "max", SENSORS='[{"name":"latency"}]') as process:
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0 and counts(output) == (300, 300, 0), output
    values = [value for _, value in stored(settings, settings.readings_topic)]
    assert [(value["seq"], value["latency"]) for value in values] == [(n, n / 10) for n in range(300)]
    assert values[-1]["event_time"] <= time.strftime("%Y-%m-%dT%H:%M:%S.999Z", time.gmtime())


@pytest.mark.timeout(240)
@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_nothing_acknowledged_is_lost_when_the_broker_goes_away(stack: Stack, settings: Settings, fault: str) -> None:
    """Breaks if an outage of the broker (F16, F17) drops readings, doubles an identity's content, or is not said."""
    arguments = ["--stations", "50", "--cadence", "100ms", "--duration", "15s", "--fault-rate", "0"]
    with running(settings, *arguments) as process:
        wait_until(lambda: len(stored(settings, settings.readings_topic)) > 1000, "a thousand readings")
        getattr(stack, fault)("kafka")
        try:
            said = next(line for line in process.stdout or () if "has not answered" in line)
        finally:
            stack.start("kafka") if fault == "kill" else stack.resume("kafka")
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    sent, acknowledged, failed = counts(output)
    assert (process.returncode, acknowledged, failed) == (0, sent, 0), output
    assert "none is dropped" in said and "answers again" in output
    rows = stored(settings, settings.readings_topic)
    assert len(identities(rows)) == sent == 50 * 150
    assert len({msgspec.json.encode(value) for _, value in rows}) == sent


def test_what_was_not_acknowledged_is_said_to_be_so(stack: Stack, settings: Settings) -> None:
    """Breaks if readings that the broker never took are reported as delivered (F18), or what it took is not there."""
    publisher = Publisher(settings.kafka_client_options(), threading.Event())
    assert publisher.connect()
    topic = settings.readings_topic
    for number in range(100):
        assert publisher.publish(topic, b"a", b'{"seq":%d}' % number)
    wait_until(lambda: publisher.counts(topic).acknowledged == 100, "all are acknowledged")
    stack.pause("kafka")
    try:
        for number in range(100, 150):
            assert publisher.publish(topic, b"a", b'{"seq":%d}' % number)
        publisher.close(1.0)
        assert str(publisher.counts(topic)) == "sent=150 acknowledged=100 failed=50"
    finally:
        stack.resume("kafka")
    assert {value["seq"] for _, value in stored(settings, topic)} >= set(range(100))
