"""The pages of the stream's benchmark: every figure of a run appears, and the plan follows from the figures."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.stream.page import performance_page
from benchmarks.stream.scaling import BUSY, scaling_page
from benchmarks.stream.stages import AT_ONCE, ONE_BY_ONE, stages
from benchmarks.stream.throughput import timed

STAMP = {"date": "2026-01-02", "commit": "abc1234", "cores": 2, "load": 0.4}


def run(rate: int, stream: float, cassandra: float) -> dict[str, Any]:
    stages_us = {"parse": 2.5, "state": 4.25}
    cpu = {"stream": stream, "cassandra": cassandra, "kafka": 1.0}
    return {"readings_per_second": rate, "cold_readings_per_second": rate, "cpu_us": cpu, "stages_us": stages_us}


@pytest.fixture
def parts() -> dict[str, Any]:
    found = {
        "stations": 2000, "valid": 600_000, "records": 600_300, "trigger": 50_000,
        "runs": {"none": [run(70_001, 20.0, 1.0)], "all": [run(20_002, 30.0, 24.0)], "reference": [run(10_003, 90, 9)]},
        "readings_per_second": {"none": 70_001, "all": 20_002, "reference": 10_003},
        "ratio": {"none": 7.0, "all": 2.0},
        "bytes": {"kafka_per_reading": 100.0, "cassandra_per_row": 50.0},
    }  # fmt: skip
    return {"throughput": STAMP | {"found": found}}


def test_the_page_shows_what_was_measured_and_when(parts: dict[str, Any]) -> None:
    """Breaks when a path, its rate or its ratio is left out, or stands without date, commit and load."""
    page = performance_page(parts)
    for shown in ("70,001", "20,002", "10,003", "| 7.0 |", "| 2.0 |", "2026-01-02, abc1234, 2 cores, load 0.4", "4.25"):
        assert shown in page
    assert "## Latency" not in page


def test_requests_and_memory_have_their_tables(parts: dict[str, Any]) -> None:
    """Breaks when a route, a stretch of memory or a slope is left out."""
    row = {"requests": 6001, "p50": 8.5, "p95": 99.5, "p99": 250.25, "max": 404.0, "errors": {"503": 2, "timeout": 1}}
    asked = {"rate": 50.0, "seconds": 120.0, "stations": 1000, "listeners": 20}
    lag = {"during": {"max": 1234.0}}
    api = {"asked": asked, "routes": {"GET /api/v1/x": row}, "all": row, "lag_readings": lag}
    soak: dict[str, Any] = {"rate": 1000, "seconds": 1800.0}
    for name, most in (("java", 777.5), ("python", 888.5), ("checkpoint", 99.5)):
        soak |= {f"{name}_mib": [most] * 10, f"{name}_mib_per_hour": -1.5}
    page = performance_page(parts | {"api": STAMP | {"found": api}, "soak": STAMP | {"found": soak}})
    assert "| `GET /api/v1/x` | 6,001 | 8.5 | 99.5 | 250.25 | 404.0 | 3 |" in page
    assert "1,234 readings behind" in page
    for most in ("777.5", "888.5", "99.5"):
        assert f"| {' | '.join([most] * 10)} | -1.5 |" in page


def test_the_plan_follows_from_the_figures(parts: dict[str, Any]) -> None:
    """Breaks when a plant is told too few cores or too little disk for the cost that was measured."""
    lines = [line for line in scaling_page(parts).splitlines() if "every reading |" in line]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    million = next(row for row in rows if row[0] == "1,000,000")
    assert int(million[2]) == round(1e6 * 30.0e-6 / BUSY)
    # 50 bytes · 10⁶ readings/s · 30 days · 3 replicas.
    assert float(million[6].replace(",", "")) == pytest.approx(50 * 1e6 * 86_400 * 30 * 3 / 1e12, abs=0.1)
    assert int(million[5].replace(",", "")) * 2 >= float(million[6].replace(",", ""))


def test_the_clock_starts_behind_the_first_quarter() -> None:
    """Breaks when the compilation of a path's own code counts in its rate, or not in that from the command."""
    # A quarter of 802 is more than two batches of 100, and two records are left over.
    marks = [(110.0, 100), (112.0, 200), (113.0, 300), (117.0, 800), (118.0, 802)]
    usages = [{"stream": used, "kafka": 1.0} for used in (9.0, 9.5, 9.6, 9.8, 9.9)]
    found = timed(100.0, marks, usages, 100)
    assert found["readings_per_second"] == 120
    assert found["cold_readings_per_second"] == round(802 / 18)
    assert found["cpu_us"] == {"stream": 500.0, "kafka": 0.0}
    assert (found["batches"], found["first_batch_seconds"], found["drain_seconds"]) == (2, 10.0, 5.0)


def test_a_backlog_of_one_batch_times_nothing() -> None:
    """Breaks when the batch that warms a path up is taken for its rate."""
    with pytest.raises(SystemExit, match="take more readings"):
        timed(100.0, [(110.0, 100), (111.0, 102)], [{"stream": 1.0}, {"stream": 1.1}], 100)


def test_without_figures_the_plan_says_what_to_run() -> None:
    """Breaks when a plan is computed of nothing."""
    assert "make bench-stream" in scaling_page({})


def test_stages_are_measured_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when a stage of the benchmark no longer runs the stream's own code; the figures of so few say nothing."""
    for name, value in {"STATIONS": 8, "SHARDS": 2, "TICKS": 20, "TURNS": 2, "TREES": 10}.items():
        monkeypatch.setattr(f"benchmarks.stream.stages.{name}", value)
    found = stages()
    assert found[AT_ONCE] > 0 < found[ONE_BY_ONE]
    assert "score, explain what is flagged" in found
