"""`docs/performance.md`: the tables of the last full run of each part, with machine, date and commit."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any

MANY = 50_000  # stations from which on Spark's default heap does not do
CPU_SIDES = ("stream", "java", "python", "cassandra", "kafka")
STAGES = ("load", "parse", "state", "pack", "unpack", "score", "write")
_HEAD = """# How fast the stream is

This page is written by `make bench-stream` (`python -m benchmarks.stream`), on real Kafka, Spark and Cassandra on one
machine; every figure of the tables comes from it. The load average of the last 15 minutes is in brackets: a part alone
makes about 2; above, other work was on the machine, and only ratios within a part mean much. Where the processor time
goes inside Spark, before and after each change: [decisions/fast-path.md](decisions/fast-path.md)."""
_THROUGHPUT = """
{valid:,} readings of {stations:,} stations wait in Kafka, a few records among them no readings, one in a thousand with
a spike; each path drains them, turn by turn on the same servers and topic, {trigger:,} offsets a trigger. The first
quarter warms a path up, as a smaller backlog did the servers before the first turn; the other three are timed. *From
the command* counts everything, the start of Spark and the compilation of its code included. *Reference* is `from_json`
→ one pandas UDF with scikit-learn's 1000 trees on raw values → every row to Cassandra in batches of one partition; it
has none of the rest (validation, duplicates, context, explanations, minutes). Every valid reading was kept by each path
in each turn: rows were counted, readings judged where only anomalies are stored."""
_PROFILE = """
CPU time in one process, without Spark and servers, of batches of 50,000 readings of 2,000 stations over 32 shards; the
least of four turns. Where two ways stand side by side, the dearer one is how the stream did it for every reading
before, and does it for the few that need it: records that are not plainly readings, readings that lack a value."""


def performance_page(parts: dict[str, Any]) -> str:
    """Return the page of what was measured so far."""
    sections = (_throughput, _profile, _latency, _stations, _tasks, _start, _api, _soak)
    made = (section for make in sections for section in make(parts))
    return "\n\n".join([_HEAD, *made]) + "\n"


def table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    """Return a markdown table; numbers from 1,000 on with separators."""
    lines = [head, tuple("---" if at == 0 else "---:" for at in range(len(head))), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int | float) and abs(value) >= 1000 else str(value)


def _made(part: dict[str, Any]) -> str:
    return f"({part['date']}, {part['commit']}, {part['cores']} cores, load {part['load']})"


def _throughput(parts: dict[str, Any]) -> Iterator[str]:
    if "throughput" not in parts:
        return
    part = parts["throughput"]
    found = part["found"]
    yield "## Throughput"
    yield _THROUGHPUT.strip().format(**found) + f" {_made(part)}"
    names = {"none": "anomalies and minutes stored", "all": "every reading stored", "reference": "reference"}
    rows = []
    for path, name in names.items():
        runs = found["runs"][path]
        cpu = [median(run["cpu_us"].get(side, 0) for run in runs) for side in CPU_SIDES]
        ratio = round(found["ratio"][path], 1) if path in found["ratio"] else 1.0
        each = ", ".join(f"{run['readings_per_second']:,}" for run in runs)
        cold = round(median(run["cold_readings_per_second"] for run in runs))
        rates = round(found["readings_per_second"][path]), each, ratio, cold
        rows.append((name, *rates, *(round(value, 1) for value in cpu)))
    head = ("readings/s", "each turn", "× reference", "from the command", "CPU µs a reading: Spark")
    yield table(("path", *head, "its Java", "its Python", "Cassandra", "Kafka"), rows)
    yield "Time of the tasks by stage, µs a reading (all batches, the first included):"
    stages = [
        (names[path], *(found["runs"][path][-1]["stages_us"].get(stage) for stage in STAGES))
        for path in ("none", "all")
    ]
    yield table(("path", *STAGES), stages)


def _profile(parts: dict[str, Any]) -> Iterator[str]:
    if "stages" in parts:
        part = parts["stages"]
        yield "## Profile per stage"
        yield f"{_PROFILE.strip()} {_made(part)}"
        yield table(("stage", "CPU µs a reading"), list(part["found"].items()))


def _latency(parts: dict[str, Any]) -> Iterator[str]:
    if "latency" in parts:
        part = parts["latency"]
        yield "## Latency"
        yield (
            "From a reading's event time to its row being readable, and to an SSE listener of the API having the "
            "anomaly; open loop, one station per reading and second, every reading stored, trigger of 1 s. Seconds; "
            f"cores and memory are those of Spark with its Python workers. {_made(part)}"
        )
        rows = [
            (
                run["rate"],
                *(run["stored_seconds"][name] for name in ("p50", "p95", "p99")),
                *(run["heard_seconds"][name] for name in ("p50", "p95", "p99")),
                run["cores"]["stream"],
                run["cores"].get("cassandra"),
                run["resident_mib"],
            )
            for run in part["found"]
        ]
        head = ("readings/s", "stored p50", "p95", "p99", "heard p50", "p95", "p99", "cores", "Cassandra's", "MiB")
        yield table(head, rows)


def _stations(parts: dict[str, Any]) -> Iterator[str]:
    if "stations" in parts:
        part = parts["stations"]
        yield "## Stations"
        yield (
            "A backlog drained, anomalies and minutes stored, offsets per trigger at least as many as stations. For "
            f"more than {MANY:,} stations the heap is 4 GB: with the default of 768 MB the JVM dies at 200,000. "
            f"{_made(part)}"
        )
        names = (
            "stations", "readings_per_second", "us_per_reading", "batch_seconds", "state_bytes_per_station",
            "resident_mib",
        )  # fmt: skip
        rows = [tuple(run[name] for name in names) for run in part["found"]]
        head = ("readings/s", "CPU µs a reading", "s a batch", "checkpointed bytes a station", "MiB")
        yield table(("stations", *head), rows)


def _tasks(parts: dict[str, Any]) -> Iterator[str]:
    if "partitions" in parts:
        part = parts["partitions"]
        yield "## Tasks at a time"
        yield (
            "The same topic with one, two and four tasks at a time, and as many partitions of the shuffle, at most "
            f"two; the servers share the machine. {_made(part)}"
        )
        rows = [(run["tasks"], run["readings_per_second"], run["cpu_us"]["stream"]) for run in part["found"]]
        yield table(("tasks at a time", "readings/s", "CPU µs a reading"), rows)


def _start(parts: dict[str, Any]) -> Iterator[str]:
    if "startup" in parts:
        part = parts["startup"]
        found = part["found"]
        yield "## Start-up"
        yield (
            f"From the command to the first stored batch: {found['fresh']} s on a fresh checkpoint, {found['again']} s "
            f"on the one it left. {_made(part)}"
        )


def _api(parts: dict[str, Any]) -> Iterator[str]:
    if "api" in parts:
        part = parts["api"]
        found = part["found"]
        asked, lag = found["asked"], found["lag_readings"]["during"]["max"]
        yield "## The API meanwhile"
        yield (
            f"{asked['rate']:.0f} requests/s for {asked['seconds']:.0f} s, open loop, and {asked['listeners']} live "
            f"listeners, while {asked['stations']:,} readings/s flow through the whole pipeline of `make run` on the "
            f"same cores. Milliseconds; the stream was at most {lag or 0:,.0f} readings behind. {_made(part)}"
        )
        head = ("requests", "p50", "p95", "p99", "max", "errors")
        yield table(
            ("route", *head),
            [
                (f"`{name}`", *(row[each] for each in head[:-1]), sum(row["errors"].values()))
                for name, row in [*found["routes"].items(), ("all", found["all"])]
            ],
        )


def _soak(parts: dict[str, Any]) -> Iterator[str]:
    if "soak" in parts:
        part = parts["soak"]
        found = part["found"]
        yield "## Over time"
        yield (
            f"{found['seconds'] / 60:.0f} minutes at {found['rate']:,} readings/s. The second half in ten stretches, "
            "the median of each in MiB, and the slope through them. Java and Python: resident memory of Spark and of "
            f"its workers, each of which counts the pages that all share. {_made(part)}"
        )
        head = ("", *map(str, range(1, 11)), "MiB an hour")
        names = {"java": "Java", "python": "Python", "checkpoint": "checkpoint on disk"}
        yield table(head, [(names[name], *found[f"{name}_mib"], found[f"{name}_mib_per_hour"]) for name in names])
