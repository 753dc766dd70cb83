"""Throughput: a backlog drained by the stream and by the reference path, turn by turn on the same servers and topic."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.stream.load import Backlog, end_offsets, fill
from benchmarks.stream.plant import (
    DRAIN_SECONDS,
    Running,
    command,
    count_rows,
    named,
    running,
    store_of,
    stored,
    stream,
    usage_of,
)
from benchmarks.stream.reference import TABLE
from core.settings import PREFIX, Settings
from local_stack.servers.stack import Stack

PATHS = ("none", "reference", "all")
# Part of a backlog that is drained before the clock starts: Spark's JVM compiles its own code meanwhile.
WARMING = 0.25
# Asking for the progress costs Cassandra processor time, which counts.
POLL_SECONDS = 0.25
SERVERS = ("kafka", "cassandra")


def throughput(settings: Settings, stack: Stack, stations: int, readings: int, turns: int) -> dict[str, Any]:
    """Drain the same topic by each path `turns` times, interleaved; medians, and the ratios of each turn."""
    settings = settings.model_copy(update={"readings_topic": "throughput", "rejected_topic": "throughput.rejected"})
    backlog = fill(settings, stations, readings)
    _warm_servers(settings, stack, stations)
    found: dict[str, list[dict[str, Any]]] = {path: [] for path in PATHS}
    for turn in range(turns):
        for path in PATHS:
            own = named(settings, f"{path}_{turn}", readings_kept="none" if path == "reference" else path)
            drained = _reference(own, stack) if path == "reference" else drain(own, stack)
            found[path].append(drained | _kept(path, own, backlog, drained))
            print(f"throughput {path}: {json.dumps(found[path][-1])}", flush=True)
    rates = {path: [run["readings_per_second"] for run in runs] for path, runs in found.items()}
    return {
        "stations": stations,
        "valid": backlog.valid,
        "records": backlog.records,
        "trigger": settings.max_offsets_per_trigger,
        "runs": found,
        "readings_per_second": {path: median(values) for path, values in rates.items()},
        "ratio": {
            path: median(ours / theirs for ours, theirs in zip(rates[path], rates["reference"], strict=True))
            for path in ("none", "all")
        },
    }


def _warm_servers(settings: Settings, stack: Stack, stations: int) -> None:
    """Write some readings first: the servers' JVMs compile their code, which no turn shall pay for the others."""
    topic = {"readings_topic": "warming", "rejected_topic": "warming.rejected", "readings_kept": "all"}
    own = named(settings, "warming", **topic)
    fill(own, stations, 3 * own.max_offsets_per_trigger)
    drain(own, stack)


def drain(settings: Settings, stack: Stack) -> dict[str, Any]:
    """Start a stream on a full topic and time it from the batch that ends the warming part to its last."""
    ends, trigger = end_offsets(settings), settings.max_offsets_per_trigger
    with stream(settings, settings.cassandra_keyspace) as process, closing(store_of(settings)) as store:
        marks: list[tuple[float, int]] = []
        usages: list[dict[str, float]] = []
        while not marks or marks[-1][1] < sum(ends.values()):
            process.check()
            if time.time() - process.began > DRAIN_SECONDS:
                raise SystemExit(f"not drained within {DRAIN_SECONDS:.0f} s:\n{process.text()[-3000:]}")
            done = sum(stored(store, settings.readings_topic).values())
            if done and (not marks or done != marks[-1][1]):
                marks.append((time.time(), done))
                usages.append(_usage(process, stack))
            time.sleep(POLL_SECONDS)
        metrics = process.metrics()
        resident = process.usage()[1]
    return timed(process.began, marks, usages, trigger) | {
        "resident_mib": round(resident),
        "accepted": sum(value for name, value in metrics.items() if name.startswith("iot_readings_scored_total")),
        "stages_us": {
            name.split('"')[1]: round(1e6 * value / metrics["iot_readings_consumed_total"], 2)
            for name, value in metrics.items()
            if name.startswith("iot_stage_seconds_total")
        },
    }


def _reference(settings: Settings, stack: Stack) -> dict[str, Any]:
    command(settings, "storage", "schema")
    with closing(store_of(settings)) as store:
        store.run(TABLE)
    report = settings.home / f"{settings.cassandra_keyspace}.jsonl"
    arguments = ("-m", "benchmarks.stream.reference", str(settings.home / "history.parquet"), str(report))
    usages: list[dict[str, float]] = []
    with running(settings, settings.cassandra_keyspace, *arguments) as process:
        while not process.ended():
            if report.exists() and len(_lines(report)) > len(usages):
                usages.append(_usage(process, stack))
            time.sleep(0.05)
    marks, total = [], 0
    for line in _lines(report):
        total += line["rows"]
        marks.append((line["time"], total))
    return timed(process.began, marks, usages[: len(marks)], settings.max_offsets_per_trigger)


def _lines(report: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in report.read_text().splitlines() if line.endswith("}")]


def timed(began: float, marks: list[tuple[float, int]], usages: list[dict[str, float]], trigger: int) -> dict[str, Any]:
    """Say what a drain cost, its warming part left out, and a rest that is less than half a batch.

    Args:
        began: when the path was started, s.
        marks: when each batch was stored, s, and how many readings were stored by then.
        usages: CPU seconds of each process at the same moments.
        trigger: offsets of a full batch.

    Raises:
        SystemExit: nothing is left behind the warming part.
    """
    drained, total = marks[-1]
    if len(marks) > 1 and total - marks[-2][1] < trigger / 2:
        marks = marks[:-1]
    warm = next(at for at, (_, done) in enumerate(marks) if done > WARMING * total - trigger / 2)
    (first, held), (last, reached) = marks[warm], marks[-1]
    if reached == held:
        raise SystemExit("the backlog was too few batches; take more readings")
    used = usages[len(marks) - 1]
    cpu = {name: (used[name] - usages[warm][name]) * 1e6 / (reached - held) for name in usages[0]}
    return {
        "readings_per_second": round((reached - held) / (last - first)),
        "cold_readings_per_second": round(total / (drained - began)),
        "first_batch_seconds": round(marks[0][0] - began, 1),
        "drain_seconds": round(last - first, 1),
        "batches": len(marks) - 1 - warm,
        "cpu_us": {name: round(value, 1) for name, value in cpu.items()},
    }


def _usage(process: Running, stack: Stack) -> dict[str, float]:
    pids = {name: stack.pid(name) for name in SERVERS}
    shares = process.shares()
    return {"stream": sum(shares.values())} | shares | {name: usage_of(pid)[0] for name, pid in pids.items() if pid}


def _kept(path: str, settings: Settings, backlog: Backlog, drained: dict[str, Any]) -> dict[str, Any]:
    """Count what is in the tables; every valid reading must be there, or be known to have been judged."""
    if path == "reference":
        kept = count_rows(settings, "reference_readings", "seq")
        found = {"rows_kept": kept}
    else:
        kept = count_rows(settings, "readings", "seq") if path == "all" else int(drained["accepted"])
        anomalies = count_rows(settings, "anomalies_by_station", "seq")
        found = {"rows_kept": kept, "anomalies": anomalies, "minutes": count_rows(settings, "station_minutes", "day")}
    if kept != backlog.valid:
        raise SystemExit(f"{path}: {kept} rows kept of {backlog.valid} valid readings; {PREFIX}HOME={settings.home}")
    return found


def bytes_on_disk(home: Path, found: dict[str, Any]) -> dict[str, float]:
    """Bytes of a reading in Kafka and of a row of `readings` in Cassandra, once both are stopped."""
    turns = len(found["runs"]["all"])
    kafka = sum(file.stat().st_size for file in home.rglob("throughput-[0-9]*/*.log"))
    tables = [table for turn in range(turns) for table in home.rglob(f"bench_all_{turn}/readings-*")]
    cassandra = sum(file.stat().st_size for table in tables for file in table.rglob("*.db"))
    return {
        "kafka_per_reading": round(kafka / found["records"], 1),
        "cassandra_per_row": round(cassandra / (turns * found["valid"]), 1),
    }
