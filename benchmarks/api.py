"""The API under load while the whole pipeline works beside it: `python -m benchmarks.api`.

Starts `python -m local_stack run` with simulated stations in a temporary folder, waits until it is ready, and asks at a
fixed rate, whatever the answers take: each request has its time, and its latency counts from then on. So a slow second
shows in every request that was due in it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from core.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "api.json"
READY_SECONDS = 900.0
CLIENTS = 64
LISTENERS = 20
TIMEOUT_SECONDS = 10.0
# Share of each route, in hundredths. {station} and {anomaly} are drawn from those that exist, {severity} from 1 to 90.
MIX = {
    "GET /api/v1/anomalies?time_range=1h&page_size=50": 10,
    "GET /api/v1/anomalies?time_range=6h&station_id={station}": 5,
    "GET /api/v1/anomalies?time_range=1h&min_severity={severity}": 5,
    "GET /api/v1/anomalies/{anomaly}": 10,
    "GET /api/v1/counts?time_range=24h&step=1h&group_by=severity": 10,
    "GET /api/v1/stations?page_size=100": 10,
    "GET /api/v1/stations/{station}": 10,
    "GET /api/v1/stations/{station}/readings?time_range=10m&resolution=raw": 10,
    "GET /pages/plant": 10,
    "GET /api/latest_anomalies?limit=10": 5,
    "POST /api/v1/predict": 15,
}
READING = b'{"temperature": 21.4, "humidity": 48.2, "noise": 61.0}'
_LAG = re.compile(r"^iot_kafka_lag_records\{[^}]*\} ([0-9.e+]+)$", re.MULTILINE)


@dataclass
class Route:
    """What came of the requests of one route; latencies in ms."""

    latencies: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """Count, quantiles and errors."""
        return {"requests": len(self.latencies), **_quantiles(self.latencies), "errors": self.errors}


@dataclass(frozen=True)
class Plant:
    """A running pipeline: its folder, the address of its API, and that of the stream's metrics."""

    home: Path
    api: str
    metrics: str

    def read(self, path: str) -> Any:
        """An answer of the API."""
        with urllib.request.urlopen(self.api + path, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
            return json.load(answer)

    def lag(self) -> float:
        """Readings in Kafka that are not stored yet."""
        with urllib.request.urlopen(self.metrics, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
            return sum(map(float, _LAG.findall(answer.read().decode())))


@contextmanager
def running(stations: int, home: Path) -> Iterator[Plant]:
    """Run the whole stack with so many stations, one reading a second each.

    Raises:
        SystemExit: it did not become ready; with its last lines.
    """
    # Whatever else runs on this machine, its ports are its own.
    named: dict[str, object] = {name.upper(): 0 for name in Settings.model_fields if name.endswith("_port")}
    named |= {"HOME": home, "STATIONS": stations, "API_REQUESTS_PER_MINUTE": 0, "LOG_LEVEL": "WARNING"}
    own = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX) or name == f"{PREFIX}CACHE"}
    environment = own | {f"{PREFIX}{name}": str(value) for name, value in named.items()} | {"PYTHONPATH": str(ROOT)}
    with (home / "run.txt").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "local_stack", "run"], cwd=home, env=environment, stdout=output, stderr=output
        )
    try:
        yield _ready(process, home)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(90)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ready(process: subprocess.Popen[bytes], home: Path) -> Plant:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and process.poll() is None:
        text = (home / "run.txt").read_text(encoding="utf-8")
        address, ready = re.search(r"metrics: (\S+)", text), re.search(r"^ready after", text, re.MULTILINE)
        if address and ready:
            return Plant(home, json.loads((home / "api.json").read_text())["url"], address[1])
        time.sleep(0.5)
    raise SystemExit("the stack did not become ready:\n" + (home / "run.txt").read_text()[-3000:])


def ask(plant: Plant, per_second: float, seconds: float, rng: random.Random) -> dict[str, Route]:
    """Send requests at a fixed rate for some time."""
    stations = [row["station_id"] for row in patiently(plant, "/api/v1/stations?page_size=1000")["stations"]]
    anomalies = [row["id"] for row in patiently(plant, "/api/v1/anomalies?time_range=1h&page_size=200")["anomalies"]]
    # The first prediction loads the model: once in the life of a process, and no part of this.
    until(lambda: _status(plant, "POST /api/v1/predict", threading.local()) == "200")
    drawn = rng.choices(list(MIX), list(MIX.values()), k=int(per_second * seconds))
    paths = [
        name.replace("{station}", rng.choice(stations))
        .replace("{anomaly}", rng.choice(anomalies or ["none"]))
        .replace("{severity}", str(rng.randint(1, 90)))
        for name in drawn
    ]
    routes, lock, connections = {name: Route() for name in MIX}, threading.Lock(), threading.local()
    begun = time.monotonic() + 0.5

    def send(at: int) -> None:
        due = begun + at / per_second
        time.sleep(max(0.0, due - time.monotonic()))
        status = _status(plant, paths[at], connections)
        took = 1000 * (time.monotonic() - due)
        with lock:
            route = routes[drawn[at]]
            route.latencies.append(took)
            if status != "200":
                route.errors[status] = route.errors.get(status, 0) + 1

    clients = ThreadPoolExecutor(CLIENTS)
    try:
        list(clients.map(send, range(len(paths))))
    finally:
        clients.shutdown(cancel_futures=True)
    return routes


def until(holds: Callable[[], bool], seconds: float = 300.0) -> None:
    """Wait for a condition.

    Raises:
        SystemExit: it did not come true in time.
    """
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise SystemExit(f"the API did not answer within {seconds:.0f} s")
        time.sleep(1.0)


def patiently(plant: Plant, path: str) -> Any:
    """An answer of the API, asked for again while it refuses."""
    found: list[Any] = []

    def read() -> bool:
        with suppress(OSError):
            found.append(plant.read(path))
        return bool(found)

    until(read)
    return found[0]


def _status(plant: Plant, what: str, connections: threading.local) -> str:
    """Ask once, on the thread's own kept connection; the status, or the name of what went wrong."""
    method, _, path = what.partition(" ")
    body, headers = (READING, {"Content-Type": "application/json"}) if method == "POST" else (None, {})
    try:
        if getattr(connections, "open", None) is None:
            address = urlsplit(plant.api)
            connections.open = http.client.HTTPConnection(address.hostname or "", address.port, TIMEOUT_SECONDS)
        connections.open.request(method, path, body, headers)
        answer = connections.open.getresponse()
        answer.read()
        return str(answer.status)
    except (OSError, http.client.HTTPException) as error:
        connections.open = None
        return type(error).__name__


@contextmanager
def sampled(measure: Callable[[], float], every_seconds: float = 1.0) -> Iterator[list[float]]:
    """Measure once a second inside the block."""
    found: list[float] = []
    done = threading.Event()

    def run() -> None:
        while not done.wait(every_seconds):
            with suppress(OSError):  # a second without a sample
                found.append(measure())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


@contextmanager
def listeners(plant: Plant, count: int) -> Iterator[list[http.client.HTTPConnection]]:
    """Live listeners beside the requests; what they get waits in their sockets."""
    address = urlsplit(plant.api)
    opened = []
    for _ in range(count):
        one = http.client.HTTPConnection(address.hostname or "", address.port, TIMEOUT_SECONDS)
        one.request("GET", "/api/v1/anomalies/stream")
        opened.append(one)
    yield opened
    for one in opened:
        one.close()


def measured(
    rate: float = 50.0, seconds: float = 120.0, stations: int = 1000, settle: float = 60.0, seed: int = 7
) -> dict[str, Any]:
    """Ask a running pipeline, and say what came of it.

    Args:
        rate: requests a second.
        seconds: how long.
        stations: with one reading a second each.
        settle: seconds of the stream alone, before.
        seed: of what is asked for.
    """
    with tempfile.TemporaryDirectory(prefix="stationwatch-api-") as home, running(stations, Path(home)) as plant:
        time.sleep(settle / 2)
        with sampled(plant.lag) as before:
            time.sleep(settle / 2)
        load = os.getloadavg()[0]
        with sampled(plant.lag) as during, listeners(plant, LISTENERS):
            routes = ask(plant, rate, seconds, random.Random(seed))
    return {
        "asked": {
            "rate": rate,
            "seconds": seconds,
            "stations": stations,
            "settle": settle,
            "seed": seed,
            "listeners": LISTENERS,
        },
        "machine": {"cpus": os.cpu_count(), "load_before": round(load, 1), "load_after": round(os.getloadavg()[0], 1)},
        "routes": {name: route.summary() for name, route in routes.items()},
        "all": _joined(routes).summary(),
        "lag_readings": {"before": _quantiles(before), "during": _quantiles(during)},
    }


def main() -> int:
    """Run the benchmark, print what was found, write it to benchmarks/results/api.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.api", description=__doc__)
    parser.add_argument("--rate", type=float, default=50.0, help="requests per second")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long")
    parser.add_argument("--stations", type=int, default=1000, help="stations, with one reading a second each")
    parser.add_argument("--settle", type=float, default=60.0, help="seconds of the stream alone, before")
    parser.add_argument("--seed", type=int, default=7)
    chosen = parser.parse_args()
    found = measured(**vars(chosen))
    _print(found)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def _joined(routes: dict[str, Route]) -> Route:
    every = Route()
    for route in routes.values():
        every.latencies += route.latencies
        for status, count in route.errors.items():
            every.errors[status] = every.errors.get(status, 0) + count
    return every


def _quantiles(values: list[float]) -> dict[str, float | None]:
    if len(values) < 2:
        return {"p50": None, "p95": None, "p99": None, "max": None}
    cut = statistics.quantiles(values, n=100, method="inclusive")
    named = {"p50": cut[49], "p95": cut[94], "p99": cut[98], "max": max(values)}
    return {name: round(value, 1) for name, value in named.items()}


def _print(found: dict[str, Any]) -> None:
    print(f"{'route':72} {'n':>5} {'p50':>7} {'p95':>7} {'p99':>7} {'max':>7} ms  errors")
    for name, row in [*found["routes"].items(), ("all", found["all"])]:
        numbers = " ".join(f"{row[each]!s:>7}" for each in ("p50", "p95", "p99", "max"))
        print(f"{name:72} {row['requests']:>5} {numbers}     {row['errors'] or ''}")
    print(f"lag of the stream, readings: before {found['lag_readings']['before']}")
    print(f"                             during {found['lag_readings']['during']}")
    print(f"machine: {found['machine']}")


if __name__ == "__main__":
    raise SystemExit(main())
