"""The levels of a real topic, without the stream: the process looks, serves, and outlives a topic that is not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request

from kafka import KafkaProducer

from core.settings import Settings
from spark_jobs.plant_levels.levels import levels_of
from spark_jobs.plant_levels.sample import CHUNKS, RECORDS, KafkaTail
from tests.oracle.job import env_of
from tests.paths import ROOT
from tests.unit.spark_jobs.test_plant_levels import record


def publish(settings: Settings, per_station: int, stations: int = 40) -> None:
    producer = KafkaProducer(**settings.kafka_client_options())
    for seq in range(per_station):
        for number in range(stations):
            made = record(f"station-{number:04d}", 20.0 + number / 10, seq)
            # Levels go by the event times' window around the record time, which is the broker's.
            now = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()).encode()
            value = (made.value or b"").replace(b"2026-09-21T13:46:40.000Z", now)
            producer.send(settings.readings_topic, key=made.key, value=value)
    producer.flush()
    producer.close()


def test_a_look_is_bounded_and_sees_all_stations(settings: Settings) -> None:
    """Breaks when a look's cost grows with the load, or readings of the topic are not found."""
    publish(settings, per_station=200)
    tail = KafkaTail(settings.kafka_client_options(), settings.readings_topic)
    try:
        records = tail.take(int(time.time() * 1000) - 600_000)
        again = tail.take(int(time.time() * 1000) - 600_000)
    finally:
        tail.close()
    assert 0 < len(records) <= settings.topic_partitions * CHUNKS * RECORDS < 40 * 200
    assert len(again) == len(records), "a second look does not go on behind the first"
    levels = levels_of(records, settings.sensors)
    assert levels.stations == 40
    assert levels.refused == 0.0
    assert 21.8 <= levels.ranks["temperature"]["p50"] <= 22.1


def test_the_process_serves_levels_and_waits_for_its_topic(settings: Settings) -> None:
    """Breaks when the fallback detector's figures need the stream, or an unknown topic ends the process."""
    publish(settings, per_station=3)
    env = {**os.environ, **env_of(settings.model_copy(update={"levels_metrics_port": 0}))}
    command = [sys.executable, "-m", "spark_jobs.plant_levels"]
    process = subprocess.Popen(command, env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip().removeprefix("levels: ")
        deadline = time.monotonic() + 60
        while "iot_plant_level{" not in (text := urllib.request.urlopen(url, timeout=10).read().decode()):  # noqa: S310
            assert time.monotonic() < deadline, text
            assert process.poll() is None
            time.sleep(0.2)
        assert "iot_plant_stations_sampled 40.0" in text
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait(10)
        if process.stdout:
            process.stdout.close()
