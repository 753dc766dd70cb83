"""`make monitor` beside a real `run`: targets up, metrics well formed, no panel empty, nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from core.settings import PREFIX
from tests.integration.deployment.dashboards import Query, has_value, queries, selected
from tests.integration.local_stack.run_plant import Run
from tests.paths import ROOT
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(900)
LARGEST_SCRAPE_BYTES = 300_000
PANEL_SECONDS = 240.0


class Watched(NamedTuple):
    """A plant with its Prometheus."""

    run: Run
    api: str
    prometheus: str

    def ask(self, path: str, **parameters: str) -> Any:
        """What Prometheus answers."""
        url = f"{self.prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        return json.loads(_get(url))["data"]


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310
        return str(answer.read().decode())


@pytest.fixture(scope="module")
def watched(live_run: Run) -> Iterator[Watched]:
    if shutil.which("prometheus") is None or shutil.which("prometheus-alertmanager") is None:
        sentence = "missing here: apt-get install prometheus prometheus-alertmanager"
        if os.environ.get("CI") == "true":
            pytest.fail(sentence)
        pytest.skip(sentence)
    api = live_run.wait_for(r"^page: (http://127\.0\.0\.1:\d+)/$")
    command = [sys.executable, "-m", "local_stack", "monitor"]
    with subprocess.Popen(command, cwd=ROOT, env=live_run.env, stdout=subprocess.PIPE, text=True) as monitor:
        try:
            yield Watched(live_run, api, _address(monitor))
            monitor.send_signal(signal.SIGINT)
            assert monitor.wait(120) == 0, "Ctrl-C is the ordinary end"
        finally:
            monitor.kill()


def _address(monitor: subprocess.Popen[str]) -> str:
    assert monitor.stdout is not None
    for line in monitor.stdout:
        if line.startswith("prometheus: "):
            return line.removeprefix("prometheus: ").strip().rstrip("/")
    pytest.fail(f"monitor ended with {monitor.wait(30)}")


def test_every_target_is_up(watched: Watched) -> None:
    """Breaks when something does not serve its figures, or `run` does not say where."""

    def health() -> dict[str, str]:
        return {one["labels"]["job"]: one["health"] for one in watched.ask("targets")["activeTargets"]}

    ours = {"stream", "api", "alarms", "levels", "stations", "kafka", "cassandra", "spark", "spark-servlet"}
    wait_until(lambda: set(health().values()) == {"up"} and ours <= set(health()), "every target up", PANEL_SECONDS)
    told = {one["labels"]["job"] for one in json.loads((watched.run.home / "run" / "targets.json").read_text())}
    assert set(health()) == told | {"prometheus", "alertmanager"}
    for series in watched.ask("query", query="scrape_duration_seconds")["result"]:
        print(series["metric"]["job"], f"{float(series['value'][1]):.3f} s")


def test_what_is_served_is_well_formed_and_small(watched: Watched) -> None:
    """Breaks when promtool objects to a name, a scrape is large, or a station's id becomes a label."""
    for group in json.loads((watched.run.home / "run" / "targets.json").read_text()):
        job, path = group["labels"]["job"], group["labels"].get("__metrics_path__", "/metrics")
        text = _get(f"http://{group['targets'][0]}{path}")
        print(job, len(text), "bytes")
        assert 0 < len(text) < LARGEST_SCRAPE_BYTES, job
        assert "station-0" not in text, job
        if job != "spark-servlet":  # Spark's own names
            checked = subprocess.run(
                ["promtool", "check", "metrics"],  # noqa: S607
                input=text,
                capture_output=True,
                text=True,
                check=False,
            )
            assert checked.returncode == 0, (job, checked.stderr)


def test_no_panel_is_empty(watched: Watched) -> None:
    """Breaks when a panel asks for a metric that nobody serves, or under another name or label."""
    open_ones = list(queries("prometheus"))
    assert len(open_ones) > 40

    def answered(query: Query) -> bool:
        expr, now = query.target["expr"], time.time()
        if query.target.get("instant"):
            return has_value(watched.ask("query", query=expr)["result"])
        found = watched.ask("query_range", query=expr, start=str(now - 300), end=str(now), step="15")
        return has_value(found["result"])

    deadline = time.monotonic() + PANEL_SECONDS
    while open_ones := [query for query in open_ones if not answered(query)]:
        assert time.monotonic() < deadline, "\n".join(map(str, open_ones))
        time.sleep(2)


def test_the_rows_of_the_api_fill_their_tables(watched: Watched) -> None:
    """Breaks when a table asks a route, a root or a field that the API does not have."""
    targets = list(queries("yesoreyeram-infinity-datasource"))
    assert len(targets) >= 5
    station = ""

    def rows(query: Query) -> list[dict[str, object]]:
        url = query.target["url"].replace("${station}", station)
        try:
            return selected(json.loads(_get(watched.api + url)), query.target)
        except urllib.error.HTTPError as error:
            if error.code == 503:  # a busy machine: it says when to ask again
                return []
            raise

    def filled(query: Query) -> list[dict[str, object]]:
        deadline = time.monotonic() + PANEL_SECONDS
        while not (found := rows(query)):
            assert time.monotonic() < deadline, str(query)
            time.sleep(2)
        return found

    station = str(filled(next(query for query in targets if query.panel == "Last anomalies"))[0]["Station"])
    for query in targets:
        found = filled(query)
        for column in query.target["columns"]:
            assert any(row[column["text"]] is not None for row in found), f"{query}: {column['selector']}"


def test_a_second_monitor_is_refused(watched: Watched) -> None:
    """Breaks when two write into one folder."""
    again = subprocess.run(
        [sys.executable, "-m", "local_stack", "monitor"],
        cwd=ROOT,
        env=watched.run.env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert again.returncode == 1
    assert "in use by another `monitor`" in again.stderr


def test_monitor_without_a_run_says_so(tmp_path: Path) -> None:
    """Breaks when it would sit there and scrape nothing."""
    if shutil.which("prometheus") is None:
        pytest.skip("missing here: apt-get install prometheus prometheus-alertmanager")
    env = {**os.environ, f"{PREFIX}HOME": str(tmp_path / "nothing")}
    done = subprocess.run(
        [sys.executable, "-m", "local_stack", "monitor"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "`make run` in another terminal first" in done.stderr
