"""Counts over a month with a million anomalies: equal to brute force, and how fast: `python -m benchmarks.counts`.

Servers are its own, on free ports in a temporary folder. Targets: p95 below 150 ms over 24 h, below 1 s over 30 days.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from api.app import create_app, store_handle
from api.http.times import rfc3339
from core.settings import Settings
from core.times import DAY_MS, HOUR_MS, MINUTE_MS, floored, year_of
from core.verdict import severity_class
from local_stack.servers.stack import Stack, endpoints_settings
from storage.driver.migrations import apply_schema, read_migrations
from storage.driver.session import Store, StoreConfig, connect
from storage.driver.writes import write_rows
from storage.tables.anomalies import INSERT_BY_TIME, INSERT_HOUR, time_slot
from storage.tables.recounting import Recounter

RESULT = Path(__file__).resolve().parent / "results" / "counts.json"
DAYS, STATIONS, REQUESTS = 30, 1000, 20
SENSORS = ("temperature", "humidity", "noise")
CLASSES = ("critical", "major", "minor", "warning", "low")


class Case(NamedTuple):
    """One kind of request: length, step and grouping, and the p95 it must keep, s."""

    hours: int
    step_minutes: int
    group: str
    target_seconds: float


CASES = (
    Case(24, 5, "severity", 0.15),
    Case(24, 60, "station", 0.15),
    Case(24, 60, "sensor", 0.15),
    Case(24 * DAYS, 60, "station", 1.0),
    Case(24 * DAYS, 60, "severity", 1.0),
    Case(24 * DAYS, 24 * 60, "sensor", 1.0),
)


class Anomalies(NamedTuple):
    """Arrays over the anomalies: event time in ms since the epoch, station number, severity and sensor number."""

    event_ms: np.ndarray
    station: np.ndarray
    severity: np.ndarray
    sensor: np.ndarray


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; 1 when a count is wrong or a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--anomalies", type=int, default=1_000_000)
    wanted = parser.parse_args(arguments).anomalies
    now_ms = time.time_ns() // 1_000_000
    with tempfile.TemporaryDirectory() as home:
        # Each answer is made anew: shared ones would only show how fast bytes are copied.
        settings = Settings(_env_file=None, home=Path(home), kafka_port=0, cassandra_port=0, api_shared_seconds=0)
        stack = Stack(settings, say=print)
        try:
            stack.up()
            found = _measured(endpoints_settings(settings, stack.endpoints()), _drawn(wanted, now_ms), now_ms)
        finally:
            stack.down()
    _print(found)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    kept = all(row["equal"] and row["p95_seconds"] <= row["target_seconds"] for row in found["cases"])
    return 0 if kept else 1


def _drawn(count: int, now_ms: int) -> Anomalies:
    rng = np.random.default_rng(6)
    return Anomalies(
        now_ms - rng.integers(0, DAYS * DAY_MS, count),
        rng.integers(0, STATIONS, count),
        rng.uniform(0, 100, count).astype(np.float32),
        rng.integers(0, len(SENSORS), count),
    )


def _measured(settings: Settings, anomalies: Anomalies, now_ms: int) -> dict[str, Any]:
    config = StoreConfig.from_settings(settings)
    apply_schema(config, read_migrations(), now_ms)
    with closing(connect(config)) as store:
        seconds = {"write": _timed(lambda: _write(store, anomalies, now_ms))}
        follower = Recounter(store, settings.readings_topic, lambda: time.time_ns() // 1000, 40)
        seconds["count_first"] = _timed(lambda: _until_done(follower))
        handle = store_handle(settings)
        handle.start()
        try:
            client = create_app(settings, handle).test_client()
            follower.step()
            return {
                "anomalies": len(anomalies.event_ms),
                "seconds": seconds,
                "cases": [_case(client, follower, case, anomalies, now_ms) for case in CASES],
            }
        finally:
            handle.close()


def _write(store: Store, anomalies: Anomalies, now_ms: int) -> None:
    order = np.argsort(anomalies.event_ms)
    hours = {(floored(int(at), HOUR_MS), slot) for at in anomalies.event_ms for slot in range(8)}
    write_rows(store, INSERT_HOUR, ((year_of(hour), (year_of(hour), hour, slot)) for hour, slot in hours), 600.0)
    for start in range(0, len(order), 20_000):
        write_rows(store, INSERT_BY_TIME, _rows(anomalies, order[start : start + 20_000], now_ms), 600.0)


def _rows(anomalies: Anomalies, chosen: np.ndarray, now_ms: int) -> Iterator[tuple[tuple[int, int], tuple[Any, ...]]]:
    columns = (column[chosen].tolist() for column in anomalies)
    for number, event_ms, station, severity, sensor in zip(chosen.tolist(), *columns, strict=True):
        station_id, hour = f"station-{station:04d}", floored(event_ms, HOUR_MS)
        slot = time_slot(station_id)
        yield (
            (hour, slot),
            (hour, slot, SENSORS[sensor], station_id, event_ms, number, {}, 2.0, severity, 1, "{}", 1, b"", 1, 0,
             number, event_ms, now_ms, now_ms),
        )  # fmt: skip


def _until_done(follower: Recounter) -> None:
    while follower.step():
        pass


def _case(client: Any, follower: Recounter, case: Case, anomalies: Anomalies, now_ms: int) -> dict[str, Any]:
    start = now_ms - case.hours * HOUR_MS
    path = (
        f"/api/v1/counts?start={rfc3339(start)}&end={rfc3339(now_ms)}&step={case.step_minutes}m&group_by={case.group}"
    )
    taken, worked, answer = [], [], client.get(path)
    for _ in range(REQUESTS):
        follower.step()
        begun, begun_cpu = time.perf_counter(), time.process_time()
        answer = client.get(path)
        taken.append(time.perf_counter() - begun)
        worked.append(time.process_time() - begun_cpu)
    return {
        **case._asdict(),
        "equal": _cells(answer.get_json()) == _brute_force(case, anomalies, start, now_ms),
        "p50_seconds": round(float(np.quantile(taken, 0.5)), 4),
        "p95_seconds": round(float(np.quantile(taken, 0.95)), 4),
        "cpu_p50_seconds": round(float(np.quantile(worked, 0.5)), 4),
        "answer_bytes": len(answer.data),
    }


def _cells(answer: dict[str, Any]) -> dict[tuple[str, int], int]:
    return {(one["key"], at): count for one in answer["groups"] for at, count in enumerate(one["counts"]) if count}


def _brute_force(case: Case, anomalies: Anomalies, start: int, end: int) -> dict[tuple[str, int], int]:
    inside = (anomalies.event_ms >= start) & (anomalies.event_ms < end)
    step_ms = case.step_minutes * MINUTE_MS
    steps = (anomalies.event_ms[inside] - floored(start, step_ms)) // step_ms
    if case.group == "station":
        names, keys = [f"station-{number:04d}" for number in range(STATIONS)], anomalies.station[inside]
    elif case.group == "sensor":
        names, keys = list(SENSORS), anomalies.sensor[inside]
    else:
        names = list(CLASSES)
        keys = np.array([names.index(severity_class(float(one))) for one in anomalies.severity[inside]])
    cells, counts = np.unique(keys.astype(np.int64) * 10**6 + steps, return_counts=True)
    pairs = zip(cells.tolist(), counts.tolist(), strict=True)
    return {(names[cell // 10**6], cell % 10**6): count for cell, count in pairs}


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return round(time.perf_counter() - begun, 1)


def _print(found: dict[str, Any]) -> None:
    print(f"{found['anomalies']} anomalies over {DAYS} days, {STATIONS} stations; seconds: {found['seconds']}")
    print("hours  step_min  group      p50_ms  p95_ms  cpu_ms  target_ms  bytes    equal")
    for row in found["cases"]:
        print(
            f"{row['hours']:5}  {row['step_minutes']:8}  {row['group']:9}  {1000 * row['p50_seconds']:6.0f}  "
            f"{1000 * row['p95_seconds']:6.0f}  {1000 * row['cpu_p50_seconds']:6.0f}  "
            f"{1000 * row['target_seconds']:9.0f}  {row['answer_bytes']:7}  "
            f"{row['equal']}"
        )


if __name__ == "__main__":
    sys.exit(main())
