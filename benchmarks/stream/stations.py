"""Cost per reading by stations and by tasks, start-up, and what a steady stream costs in memory and disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.stream.latency import Sent, send
from benchmarks.stream.load import end_offsets, fill
from benchmarks.stream.page import MANY
from benchmarks.stream.plant import named, store_of, stored, stream
from benchmarks.stream.throughput import drain
from core.settings import Settings
from local_stack.servers.stack import Stack
from local_stack.servers.topics import create_topics

STRETCHES = 10
LONGEST_PAUSE_SECONDS, SAMPLES = 5.0, 60


def by_stations(settings: Settings, stack: Stack, counts: Sequence[int], readings: int) -> list[dict[str, Any]]:
    """Drain a backlog of each number of stations; offsets per trigger at least as many as stations."""
    found = []
    for stations in counts:
        name = f"stations_{stations}"
        own = named(
            settings,
            name,
            readings_topic=name,
            rejected_topic=f"{name}.rejected",
            readings_kept="none",
            max_offsets_per_trigger=max(settings.max_offsets_per_trigger, stations),
            # The state of all stations passes through the heap in each batch.
            spark_driver_memory="4g" if stations > MANY else settings.spark_driver_memory,
        )
        backlog = fill(own, stations, max(readings, 3 * own.max_offsets_per_trigger))
        run = drain(own, stack)
        found.append(
            {
                "stations": stations,
                "readings": backlog.valid,
                "readings_per_second": run["readings_per_second"],
                "us_per_reading": run["cpu_us"]["stream"],
                "batch_seconds": round(run["drain_seconds"] / run["batches"], 2),
                "state_bytes_per_station": round(state_bytes(Path(own.checkpoint)) / stations),
                "resident_mib": run["resident_mib"],
            }
        )
        print(f"stations: {found[-1]}", flush=True)
    return found


def by_tasks(settings: Settings, stack: Stack, stations: int, readings: int) -> list[dict[str, Any]]:
    """Drain the same topic with one, two and four tasks at a time."""
    topic = {"readings_topic": "tasks", "rejected_topic": "tasks.rejected", "readings_kept": "none"}
    fill(settings.model_copy(update=topic), stations, readings)
    found = []
    for tasks in (1, 2, 4):
        own = named(
            settings, f"tasks_{tasks}", **topic, spark_master=f"local[{tasks},4]", shuffle_partitions=min(tasks, 2)
        )
        run = drain(own, stack)
        found.append({"tasks": tasks} | {name: run[name] for name in ("readings_per_second", "cpu_us")})
        print(f"tasks: {found[-1]}", flush=True)
    return found


def start_up(settings: Settings, stack: Stack) -> dict[str, Any]:
    """Seconds from the command to the first stored batch: on a fresh checkpoint, and again on the one it left."""
    own = named(settings, "start", readings_topic="start", rejected_topic="start.rejected", max_offsets_per_trigger=100)
    found = {}
    for kind in ("fresh", "again"):
        fill(own, 25, 100)
        ends = sum(end_offsets(own).values())
        with stream(own, f"start_{kind}") as process, closing(store_of(own)) as store:
            while sum(stored(store, own.readings_topic).values()) < ends:
                process.check()
                time.sleep(0.05)
            found[kind] = round(time.time() - process.began, 1)
    print(f"start-up: {found}", flush=True)
    return found


def soak(settings: Settings, stack: Stack, rate: int, seconds: float) -> dict[str, Any]:
    """Resident memory and checkpoint size while `rate` readings a second arrive, over the second half.

    Of what is measured the medians of ten equal stretches are kept, and the slope through them: the size of the
    checkpoint swings with each snapshot.
    """
    own = named(settings, "soak", readings_topic="soak", rejected_topic="soak.rejected")
    create_topics(own)
    samples: list[tuple[float, ...]] = []
    with stream(own, "soak") as process:
        done = threading.Event()
        sender = threading.Thread(target=send, args=(own, rate, seconds, Sent(), done))
        sender.start()
        while not done.wait(min(LONGEST_PAUSE_SECONDS, seconds / SAMPLES)):
            process.check()
            memory, size = process.memory(), _size(Path(own.checkpoint)) / 2**20
            samples.append((time.time(), memory["java"], memory["python"], size))
        sender.join()
    stretches = [np.median(part, axis=0) for part in np.array_split(samples[len(samples) // 2 :], STRETCHES)]
    at, *measured = np.array(stretches).T
    found: dict[str, Any] = {"rate": rate, "seconds": seconds}
    for name, values in zip(("java", "python", "checkpoint"), measured, strict=True):
        found[f"{name}_mib"] = [round(float(value), 1) for value in values]
        found[f"{name}_mib_per_hour"] = round(float(np.polyfit((at - at[0]) / 3600, values, 1)[0]), 1)
    return found


def _size(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += file.stat().st_size
    return total


def state_bytes(checkpoint: Path) -> int:
    """Bytes of the newest version of the state of all shards: the largest changelog or snapshot of each task."""
    total = 0
    for task in (checkpoint / "state" / "0").iterdir():
        files = [file.stat().st_size for file in task.glob("*.changelog")]
        total += max(files, default=0)
    return total
