"""What the stream is given: readings of simulated stations, some with spikes, some records that are no readings."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from core.settings import Settings
from iot_simulator.encode import encode_tick
from iot_simulator.process import StationProcess
from local_stack.servers.topics import create_topics

SPIKES = 0.001  # share of readings that a spike lifts by `SPIKE_SIGMAS` of their sensor
SPIKE_SIGMAS = 8.0
BAD = 0.0005  # records that are no readings, as a share of the readings
SEED = 5


@dataclass(frozen=True)
class Backlog:
    """What a topic holds: valid readings, and records in all."""

    stations: int
    valid: int
    records: int


def fill(settings: Settings, stations: int, readings: int) -> Backlog:
    """Create the topic of `settings` and fill it with readings of the last minutes, a second apart.

    Args:
        settings: with the topic's name.
        stations: of the plant.
        readings: valid ones, rounded down to whole ticks.
    """
    create_topics(settings)
    ticks = max(1, readings // stations)
    rng = np.random.default_rng(SEED)
    before = sum(end_offsets(settings).values())
    first = int(time.time()) - ticks
    bad = 0
    producer = KafkaProducer(**settings.kafka_client_options(), linger_ms=50, batch_size=256 * 1024)
    for key, value in records(settings, stations, first, ticks, rng):
        producer.send(settings.readings_topic, key=key, value=value)
        if rng.random() < BAD:
            producer.send(settings.readings_topic, key=key, value=b'{"station_id": "cut off')
            bad += 1
    producer.flush()
    producer.close()
    held = sum(end_offsets(settings).values()) - before
    if held != ticks * stations + bad:
        raise SystemExit(f"{settings.readings_topic} took {held} records, {ticks * stations + bad} were sent")
    return Backlog(stations, ticks * stations, held)


def records(
    settings: Settings, stations: int, first_tick: int, ticks: int, rng: np.random.Generator
) -> Iterator[tuple[bytes, bytes]]:
    """Yield (key, value) of each reading, tick by tick."""
    process = StationProcess(settings.simulator_seed, range(stations), settings.sensors, 1.0)
    names = [sensor.name for sensor in settings.sensors]
    ids = [f"station-{number:06d}" for number in range(stations)]
    keys = [name.encode() for name in ids]
    few = max(1, 2_000_000 // stations)
    for start in range(first_tick, first_tick + ticks, few):
        block = process.block(start, min(few, first_tick + ticks - start))
        for tick, values in enumerate(block, start):
            lifted = rng.random(values.shape) < SPIKES / len(names)
            values = np.round(values + lifted * SPIKE_SIGMAS * process.sigma, 2)
            at = datetime.fromtimestamp(tick, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            yield from zip(keys, encode_tick(ids, at, tick, names, values), strict=True)


def end_offsets(settings: Settings) -> dict[int, int]:
    """Kafka partition of the readings' topic → its end."""
    consumer = KafkaConsumer(**settings.kafka_client_options())
    try:
        numbers = consumer.partitions_for_topic(settings.readings_topic)
        parts = [TopicPartition(settings.readings_topic, number) for number in numbers]
        return {part.partition: end for part, end in consumer.end_offsets(parts).items()}
    finally:
        consumer.close()
