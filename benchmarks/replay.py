"""A real recorded series through the whole pipeline, by configuration alone: `python -m benchmarks.replay`.

Takes a series of the Numenta Anomaly Benchmark, trains on its first 15 % (which NAB does not judge), replays all of it
as the station `nab`, and prints which of the labelled windows held an anomaly. Servers, stream and MLflow are its own,
on free ports in a temporary folder.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from kafka import KafkaConsumer, TopicPartition

from core.settings import PREFIX, Settings
from local_stack.downloads.jars import spark_kafka_jars
from local_stack.servers.stack import Stack, endpoints_settings
from storage.driver.session import StoreConfig, connect
from storage.tables.anomaly_scan import by_station
from storage.tables.stream_progress import progress

ROOT = Path(__file__).resolve().parent.parent
SERIES = ROOT.parent / "shared" / "validation" / "nab"
NAME = "realKnownCause__ec2_request_latency_system_failure.csv"
RESULT = ROOT / "benchmarks" / "results" / "replay.json"
STATION = "nab"
SENSORS = '[{"name": "latency", "unit": "ms"}]'
# NAB: the first 15 % of a series, at most 750 rows, are for learning.
LEARNING_SHARE, LEARNING_ROWS = 0.15, 750
# Flagged readings no further apart than this are one episode, as everywhere in stationwatch.
EPISODE_GAP = 10
STREAM_SECONDS = 600.0


@dataclass(frozen=True)
class Series:
    """A recorded series: (time, value) rows in order, and the labelled windows, both ends inclusive."""

    rows: list[tuple[str, str]]
    windows: list[tuple[str, str]]

    @property
    def learning(self) -> int:
        """Rows that are for learning and not judged."""
        return min(LEARNING_ROWS, int(LEARNING_SHARE * len(self.rows)))


@dataclass(frozen=True)
class Found:
    """What was found. `false_episodes` are episodes outside every window, learning rows left out."""

    series: str
    readings: int
    learning_rows: int
    flagged: int
    windows: list[dict[str, object]]
    false_episodes: int
    false_episodes_per_1000: float
    seconds: dict[str, float]


def read_series(folder: Path, name: str) -> Series:
    """Read one series and its windows; without windows.json there are none."""
    with (folder / name).open(newline="", encoding="utf-8") as file:
        rows = [(row["timestamp"], row["value"]) for row in csv.DictReader(file)]
    labels = folder / "windows.json"
    windows = json.loads(labels.read_text(encoding="utf-8")).get(name, []) if labels.exists() else []
    return Series(rows, [(start, end) for start, end in windows])


def write_readings(rows: list[tuple[str, str]], path: Path) -> None:
    """Write rows as recorded readings of one station."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["station_id", "event_time", "seq", "latency"])
        writer.writerows([STATION, f"{_time(at).isoformat()}", seq, value] for seq, (at, value) in enumerate(rows))


def judge(name: str, series: Series, flagged: list[int], seconds: dict[str, float]) -> Found:
    """Compare flagged rows with the windows.

    Args:
        name: of the series.
        series: rows and windows.
        flagged: row numbers of the anomalies.
        seconds: what took how long.
    """
    judged = [row for row in flagged if row >= series.learning]
    times = {row: _time(series.rows[row][0]) for row in judged}
    spans = [(_time(start), _time(end)) for start, end in series.windows]
    windows: list[dict[str, object]] = []
    for (start, end), (first, last) in zip(series.windows, spans, strict=True):
        inside = [row for row in judged if first <= times[row] <= last]
        delay = (times[inside[0]] - first).total_seconds() / 60 if inside else None
        windows.append({"start": start, "end": end, "flagged": len(inside), "minutes_to_first": delay})
    outside = [row for row in judged if not any(first <= times[row] <= last for first, last in spans)]
    episodes = sum(
        row - before > EPISODE_GAP for before, row in zip([-EPISODE_GAP - 1, *outside], outside, strict=False)
    )
    rate = round(1000 * episodes / (len(series.rows) - series.learning), 2)
    return Found(name, len(series.rows), series.learning, len(judged), windows, episodes, rate, seconds)


def run(series: Series, home: Path, speed: str) -> tuple[list[int], dict[str, float]]:
    """Take a series through the pipeline. Returns the rows stored as anomalies, and what took how many seconds."""
    write_readings(series.rows[: series.learning], home / "learning.csv")
    write_readings(series.rows, home / "series.csv")
    seconds: dict[str, float] = {}
    settings = Settings(
        _env_file=None,
        home=home,
        sensors=json.loads(SENSORS),
        kafka_port=0,
        cassandra_port=0,
        stream_metrics_port=0,
        api_port=0,
    )
    stack = Stack(settings, say=print)
    try:
        with _timed(seconds, "servers"):
            settings = endpoints_settings(settings, stack.up())
        environment = _environment(settings)
        with _timed(seconds, "training"):
            _do(environment, "storage", "schema")
            _do(environment, "models.train", "--readings", str(home / "learning.csv"))
        with _stream(environment, home / "stream.log") as alive, _timed(seconds, "replay to stored"):
            _do(environment, "iot_simulator", "replay", str(home / "series.csv"), "--speed", speed)
            _wait_until_stored(settings, alive)
        return _flagged_rows(settings), seconds
    finally:
        stack.down()


def main() -> int:
    """Run the benchmark, print what was found, write it to benchmarks/results/replay.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay", description=__doc__)
    parser.add_argument("--folder", type=Path, default=SERIES, help="folder of the series and windows.json")
    parser.add_argument("--series", default=NAME, help="file name of a timestamp,value series spanning under 30 days")
    parser.add_argument("--speed", default="max", help="recorded seconds per second")
    chosen = parser.parse_args()
    if not (chosen.folder / chosen.series).exists():
        print(
            f"{chosen.folder / chosen.series} is not there: the recorded series live beside the repository, in "
            "../shared/validation/nab; nothing was measured. --folder names another place.",
            file=sys.stderr,
        )
        return 2
    series = read_series(chosen.folder, chosen.series)
    with tempfile.TemporaryDirectory(prefix="stationwatch-replay-") as home:
        flagged, seconds = run(series, Path(home), chosen.speed)
    found = judge(chosen.series, series, flagged, seconds)
    _print(found)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(asdict(found), indent=1) + "\n", encoding="utf-8")
    return 0


def _print(found: Found) -> None:
    print(f"{found.series}: {found.readings} readings, the first {found.learning_rows} for learning and not judged")
    for window in found.windows:
        verdict = (
            f"found after {window['minutes_to_first']:.0f} min, {window['flagged']} readings flagged"
            if window["flagged"]
            else "not found"
        )
        print(f"  window {window['start'][:16]} to {window['end'][:16]}: {verdict}")  # type: ignore[index]
    hits = sum(bool(window["flagged"]) for window in found.windows)
    print(f"  windows found: {hits} of {len(found.windows)}; flagged readings: {found.flagged}")
    print(f"  episodes outside the windows: {found.false_episodes} ({found.false_episodes_per_1000} per 1000 readings)")
    print("  " + ", ".join(f"{what}: {took:.1f} s" for what, took in found.seconds.items()))


def _environment(settings: Settings) -> dict[str, str]:
    """Return the environment of the child processes: nothing of the caller's settings but the jar cache.

    They run in the temporary home, where no `.env` of the checkout reaches them.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX) or name == f"{PREFIX}CACHE"}
    names = ("home", "kafka_bootstrap", "cassandra_hosts", "cassandra_port", "stream_metrics_port", "api_port")
    mine = {f"{PREFIX}{name.upper()}": str(getattr(settings, name)) for name in names}
    jars = ",".join(map(str, spark_kafka_jars(settings.cache)))
    return {**own, **mine, f"{PREFIX}SENSORS": SENSORS, f"{PREFIX}SPARK_JARS": jars, "PYTHONPATH": str(ROOT)}


def _do(environment: dict[str, str], module: str, *arguments: str) -> None:
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, env=environment, cwd=environment[f"{PREFIX}HOME"], check=False)  # noqa: S603
    if done.returncode:
        raise SystemExit(f"python -m {module} {' '.join(arguments)} ended with status {done.returncode}")


@contextmanager
def _stream(environment: dict[str, str], log: Path) -> Iterator[Callable[[], None]]:
    """Run the stream; yields a check that it still runs."""
    with log.open("w") as output:
        command = [sys.executable, "-m", "spark_jobs.detect_anomalies"]
        process = subprocess.Popen(command, env=environment, cwd=log.parent, stdout=output, stderr=output)  # noqa: S603

    def alive() -> None:
        if process.poll() is not None:
            tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])
            raise SystemExit(f"the stream ended with status {process.returncode}:\n{tail}")

    try:
        yield alive
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_stored(settings: Settings, alive: Callable[[], None]) -> None:
    """Wait until the stream has stored everything that Kafka holds."""
    ends = _end_offsets(settings)
    deadline = time.monotonic() + STREAM_SECONDS
    with closing(connect(StoreConfig.from_settings(settings))) as store:
        while True:
            stored = progress(store, settings.readings_topic).partitions
            reached = {number: row.complete_to or 0 for number, row in stored.items()}
            if all(reached.get(number, 0) >= end for number, end in ends.items()):
                return
            if time.monotonic() > deadline:
                raise SystemExit(f"the stream stored up to {reached} of {ends} within {STREAM_SECONDS:.0f} s")
            alive()
            time.sleep(0.5)


def _end_offsets(settings: Settings) -> dict[int, int]:
    consumer = KafkaConsumer(**settings.kafka_client_options())
    try:
        parts = [
            TopicPartition(settings.readings_topic, p) for p in consumer.partitions_for_topic(settings.readings_topic)
        ]
        return {part.partition: end for part, end in consumer.end_offsets(parts).items()}
    finally:
        consumer.close()


def _flagged_rows(settings: Settings) -> list[int]:
    """Return the row numbers stored as anomalies; the replay's shift puts all readings into the last 30 days."""
    now = time.time_ns() // 1_000_000
    with closing(connect(StoreConfig.from_settings(settings))) as store:
        return sorted(row.seq for row in by_station(store, STATION, now - 31 * 86_400_000, now + 1))


@contextmanager
def _timed(seconds: dict[str, float], what: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    seconds[what] = round(time.monotonic() - start, 1)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


if __name__ == "__main__":
    raise SystemExit(main())
