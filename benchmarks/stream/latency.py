"""Latency: readings at a fixed rate, whatever becomes of them; when is a row readable, when has a listener the anomaly?

Open loop: each reading has its time, and its latency counts from then on. A row counts as readable when the stream says
so (`stream_progress.complete_to`), which is when the API begins to show it.
"""

from __future__ import annotations

import http.client
import json
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from kafka import KafkaProducer
from kafka.partitioner import murmur2

from benchmarks.stream.load import SEED
from benchmarks.stream.plant import Running, count_rows, named, running, store_of, stored, stream, usage_of
from core.settings import Settings
from iot_simulator.encode import encode_reading
from iot_simulator.process import StationProcess
from local_stack.servers.stack import Stack
from local_stack.servers.topics import create_topics

SLICES_PER_SECOND = 20
SETTLE_SECONDS = 40.0  # Spark has started and caught up, cold servers have compiled their code
SPIKES, SPIKE_SIGMAS = 0.002, 10.0
DRAIN_SECONDS = 60.0
# Of a listener: the API gives a sign of life every 15 s, also while the stream is still starting.
SILENCE_SECONDS = 60.0


@dataclass
class Sent:
    """What was sent: event times (s since the epoch) by Kafka partition, in the order of their offsets."""

    by_partition: dict[int, list[float]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Readings sent."""
        return sum(map(len, self.by_partition.values()))


def latency(settings: Settings, stack: Stack, rate: int, seconds: float) -> dict[str, Any]:
    """Send `rate` readings a second, one per station and second, for so long."""
    name = f"latency_{rate}"
    settings = named(settings, name, readings_topic=name, rejected_topic=f"{name}.rejected")
    create_topics(settings)
    with stream(settings, name) as process, closing(store_of(settings)) as store, _listening(settings) as heard:
        sent, waits = Sent(), []
        done = threading.Event()
        sender = threading.Thread(target=send, args=(settings, rate, seconds, sent, done))
        sender.start()
        begun: dict[str, float] = {}
        seen: dict[int, int] = {}
        ends = 0.0
        while not done.is_set() or sum(seen.values()) < sent.count:
            process.check()
            now_done, now = stored(store, settings.readings_topic), time.time()
            for partition, end in now_done.items():
                times = sent.by_partition.get(partition, [])[seen.get(partition, 0) : end]
                waits += [(at, now - at) for at in times]
                seen[partition] = end
            if not begun and waits and now - waits[0][0] > SETTLE_SECONDS + seconds / 4:
                begun = _usage(process, stack) | {"time": now}
            ends = ends or (now + DRAIN_SECONDS if done.is_set() else 0.0)
            if ends and now > ends:
                raise SystemExit(
                    f"{sum(seen.values())} of {sent.count} readings were stored:\n{process.text()[-2000:]}"
                )
            time.sleep(0.02)
        sender.join()
        used, resident, ended = _usage(process, stack), process.usage()[1], time.time()
        heard.stop()
    first = min(at for at, _ in waits) + SETTLE_SECONDS
    kept = count_rows(settings, "readings", "seq")
    if kept != sent.count:
        raise SystemExit(f"{kept} rows of {sent.count} readings sent")
    span = ended - begun["time"]
    return {
        "rate": rate,
        "readings": sent.count,
        "stored_seconds": quantiles([wait for at, wait in waits if at >= first]),
        "heard_seconds": quantiles([wait for at, wait in heard.waits if at >= first]),
        "anomalies_heard": len(heard.waits),
        "cores": {name: round((used[name] - begun[name]) / span, 2) for name in used},
        "resident_mib": round(resident),
    }


def quantiles(values: list[float]) -> dict[str, float | None]:
    """p50, p95, p99 and the largest; None of too few."""
    if len(values) < 2:
        return {"p50": None, "p95": None, "p99": None, "max": None}
    cut = statistics.quantiles(values, n=100, method="inclusive")
    found = {"p50": cut[49], "p95": cut[94], "p99": cut[98], "max": max(values)}
    return {name: round(value, 2) for name, value in found.items()}


def send(settings: Settings, rate: int, seconds: float, sent: Sent, done: threading.Event) -> None:
    """Send each station's reading in its slice of every second; event time is when it was due."""
    names = [sensor.name for sensor in settings.sensors]
    process = StationProcess(settings.simulator_seed, range(rate), settings.sensors, 1.0)
    rng = np.random.default_rng(SEED)
    producer = KafkaProducer(**settings.kafka_client_options(), linger_ms=5)
    ids = [f"station-{number:06d}" for number in range(rate)]
    slices = np.array_split(np.arange(rate), min(SLICES_PER_SECOND, rate))
    keys = [name.encode() for name in ids]
    # As Kafka's clients choose it: a reading's offset is then its place among those sent to the partition.
    places = [(murmur2(key) & 0x7FFFFFFF) % settings.topic_partitions for key in keys]
    first = int(time.time()) + 1
    try:
        for tick in range(first, first + int(seconds)):
            block = process.block(tick, 1)[0]
            block = np.round(block + (rng.random(block.shape) < SPIKES) * SPIKE_SIGMAS * process.sigma, 2)
            for number, members in enumerate(slices):
                due = tick + number / len(slices)
                time.sleep(max(0.0, due - time.time()))
                at = datetime.fromtimestamp(due, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
                for one in members.tolist():
                    value = encode_reading(ids[one], at, tick, dict(zip(names, block[one].tolist(), strict=True)))
                    producer.send(settings.readings_topic, key=keys[one], value=value, partition=places[one])
                    sent.by_partition.setdefault(places[one], []).append(due)
        producer.flush()
    finally:
        producer.close()
        done.set()


class _Heard:
    """Anomalies as a listener got them: (event time, s from there to its arrival)."""

    def __init__(self, address: str) -> None:
        self.waits: list[tuple[float, float]] = []
        self._stopped = False
        where = urlsplit(address)
        self._connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=SILENCE_SECONDS)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take what has arrived, and what the next sign of life brings along."""
        self._stopped = True
        self._thread.join(SILENCE_SECONDS)

    def _listen(self) -> None:
        self._connection.request("GET", "/api/v1/anomalies/stream")
        answer = self._connection.getresponse()
        while not self._stopped and (line := answer.readline()):
            if line.startswith(b"data:") and b'"event_time"' in line:
                at = datetime.fromisoformat(json.loads(line[5:])["event_time"]).timestamp()
                self.waits.append((at, time.time() - at))


@contextmanager
def _listening(settings: Settings) -> Iterator[_Heard]:
    place = settings.home / "api.json"
    place.unlink(missing_ok=True)
    with running(settings, f"{settings.cassandra_keyspace}_api", "-m", "api") as process:
        end = time.monotonic() + 120
        while not place.exists():
            process.check()
            if time.monotonic() > end:
                raise SystemExit(f"the API did not start:\n{process.text()[-2000:]}")
            time.sleep(0.2)
        yield _Heard(json.loads(place.read_text())["url"])


def _usage(process: Running, stack: Stack) -> dict[str, float]:
    pids = {name: stack.pid(name) for name in ("kafka", "cassandra")}
    return {"stream": process.usage()[0]} | {name: usage_of(pid)[0] for name, pid in pids.items() if pid}
