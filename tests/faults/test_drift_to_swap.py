"""A plant that changes: drift is found, a challenger is trained, gated, promoted and swapped in, and nobody asked."""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from cassandra.cluster import Session
from selenium.webdriver import Chrome

from core.settings import Settings
from tests.browser.serving import MISSING, browser_is_here, chromium, console_errors, repeated
from tests.oracle.bad_records import good_fields, rfc3339
from tests.oracle.job import api_of, clock_ms, env_of, make_schema, rows_of, stream_of, train
from tests.oracle.ledger import Publisher
from tests.oracle.processes import Running, running
from tests.oracle.stream_input import SENSORS, Planned, Shape, walks

STATIONS = 20
# Of the day before, half an hour back and an hour ahead: the hours of the day in which the test can run.
TRAINING_TICKS, AHEAD_TICKS = 5400, 3600
CALM_TICKS, MOVED_TICKS, LIVE_TICKS = 600, 360, 900
SHIFT, SHIFT_TICKS = 0.5, 60  # °C, a good spread of a station's temperature
DAY_MS = 86_400_000

pytestmark = [pytest.mark.timeout(1500), pytest.mark.slow]


class Plant:
    """Stations that read once a second, from a day ago on; what happens to them is in `values`.

    Args:
        now_ms: the last tick of the changed plant's backlog.
    """

    def __init__(self, now_ms: int) -> None:
        ticks = TRAINING_TICKS + CALM_TICKS + MOVED_TICKS + LIVE_TICKS
        values = walks(Shape(stations=STATIONS, ticks=ticks), np.random.default_rng(21))
        self.changed = TRAINING_TICKS + CALM_TICKS
        values[:, self.changed :, 0] += SHIFT * np.minimum(np.arange(ticks - self.changed) / SHIFT_TICKS, 1.0)
        self.values = values.round(1)
        self.now_ms = now_ms
        self._next = self.live = self.changed + MOVED_TICKS

    def event_ms(self, tick: int) -> int:
        """When a tick of the stream's part is read."""
        return self.now_ms + (tick - self.live) * 1000

    def write_training(self, path: Path) -> None:
        """The day before, as a history file."""
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["station_id", "event_time", "seq", *SENSORS])
            for tick in range(TRAINING_TICKS):
                at = rfc3339(self.now_ms - DAY_MS + (tick - TRAINING_TICKS + AHEAD_TICKS) * 1000)
                for number in range(STATIONS):
                    cells = ["" if np.isnan(value) else value for value in self.values[number, tick]]
                    rows.writerow([f"station-{number:04d}", at, tick, *cells])

    def readings(self, first: int, end: int) -> list[Planned]:
        """What the stations send at the ticks [first, end)."""
        return [self._reading(number, tick) for tick in range(first, end) for number in range(STATIONS)]

    def lately(self) -> list[Planned]:
        """What they have sent since this was asked last."""
        first, self._next = self._next, max(self._next, self.live + (clock_ms() - self.now_ms) // 1000)
        assert self._next < self.values.shape[1], "the plant's life is over: LIVE_TICKS are too few"
        return self.readings(first, self._next)

    def _reading(self, number: int, tick: int) -> Planned:
        name, event_ms = f"station-{number:04d}", self.event_ms(tick)
        sent = (None if np.isnan(value) else float(value) for value in self.values[number, tick])
        fields = good_fields(name, event_ms, tick, dict(zip(SENSORS, sent, strict=True)))
        return Planned("good", name.encode(), json.dumps(fields).encode(), (name, event_ms, tick))


class Watch:
    """Looks at the API until something holds.

    Args:
        url: of the API.
        programs: whose logs say why it does not.
    """

    def __init__(self, url: str, programs: Sequence[Running]) -> None:
        self.url, self._programs = url, programs
        self.began = time.monotonic()

    def get(self, path: str) -> dict[str, Any]:
        """A document of the API, empty while it cannot answer."""
        answer = requests.get(f"{self.url}{path}", timeout=30)
        return dict(answer.json()) if answer.ok else {}

    def until(self, what: str, path: str, holds: Callable[[dict[str, Any]], object], seconds: float) -> dict[str, Any]:
        """Ask for `path` until it shows what is waited for; says after how many seconds it did."""
        deadline = time.monotonic() + seconds
        while not (found := self.get(path)) or not holds(found):
            logs = "\n".join(program.tail(15) for program in self._programs)
            assert time.monotonic() < deadline, f"not in {seconds:g} s: {what}\n{json.dumps(found)[:3000]}\n{logs}"
            time.sleep(0.5)
        print(f"{time.monotonic() - self.began:6.1f} s: {what}")
        return found


@pytest.fixture
def browser() -> Iterator[Chrome]:
    """A browser of the test's own."""
    if not browser_is_here():
        if os.environ.get("CI") == "true":
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    with chromium() as opened:
        yield opened


@contextmanager
def retrainer_of(settings: Settings) -> Iterator[Running]:
    """A retrainer until the end of the block."""
    with running(
        "retrainer", ["-m", "models.retraining.retrainer"], env_of(settings), settings.home / "r.log"
    ) as found:
        yield found


def test_a_plant_that_changes_gets_a_model_that_knows_it(
    proof_settings: Settings, session: Session, tmp_path: Path, browser: Chrome
) -> None:
    """Breaks when any link from the drift check to the swapped model is missing, or the page does not show it."""
    settings = proof_settings.model_copy(
        update={
            "feature_samples_per_minute": 2000, "drift_check_minutes": 0.1, "drift_window_hours": 0.05,
            "drift_least_readings": 200, "retrain_automatically": True, "promote_automatically": True,
            "retrain_cooldown_hours": 0.0, "retrain_window_hours": 1.0, "max_offsets_per_trigger": 10_000,
        }
    )  # fmt: skip
    make_schema(settings)
    plant = Plant(clock_ms())
    plant.write_training(tmp_path / "history.csv")
    train(settings, tmp_path / "history.csv", seed=1)
    plant = Plant(clock_ms())  # The same, up to this moment: training took a while.
    with (
        Publisher(settings.kafka_client_options(), settings.readings_topic, tmp_path / "ledger.jsonl") as publisher,
        stream_of(settings, session, "stream") as job,
        api_of(settings) as url,
    ):
        publisher.publish(plant.readings(TRAINING_TICKS, plant.changed))
        job.start()
        job.wait_until_drained()
        with retrainer_of(settings) as retrainer:
            watch = Watch(url, [job.process, retrainer])
            calm = watch.until("the plant as it was trained", "/api/v1/drift", lambda found: found["checks"], 120)
            assert all(check["answer"] != "drift" for check in calm["checks"])

            publisher.publish(plant.readings(plant.changed, plant.live))
            with repeated(lambda: publisher.publish(plant.lately()), 1.0):
                follow(watch)
                look_at_the_page(browser, url, tmp_path)
        job.wait_until_drained()
        job.stop()
    versions = {row["model_version"] for row in rows_of(session, settings, "readings")}
    assert versions >= {1, 2}


def follow(watch: Watch) -> None:
    """From the check that finds drift to the version that judges."""
    drift = watch.until(
        "drift is found", "/api/v1/drift", lambda found: any(one["answer"] == "drift" for one in found["checks"]), 120
    )
    check = next(check for check in drift["checks"] if check["answer"] == "drift")
    assert check["model_version"] == "1"
    assert "level:temperature" in check["persistent"] and check["effects"]["level:temperature"] > 0.2

    def filed(found: dict[str, Any]) -> list[dict[str, Any]]:
        return [event for event in found["events"] if event["kind"] == "filed"]

    models = watch.until("the policy files a retraining", "/api/v1/models", filed, 60)
    place = f"/api/v1/jobs/{filed(models)[-1]['job_id']}"
    told: list[float] = []

    def over(job: dict[str, Any]) -> bool:
        told.append(job["progress"]["fraction"])
        return job["state"] not in ("queued", "running")

    job = watch.until("the retraining ends", place, over, 300)
    assert (job["state"], job["requested_by"]) == ("succeeded", "policy: drift"), job
    assert job["result"]["passed"] and job["result"]["promoted"]
    assert told == sorted(told) and len(set(told)) > 2
    version = str(job["result"]["version"])
    models = watch.until(f"version {version} judges", "/api/v1/models", lambda found: version in found["judges"], 60)
    made = next(one for one in models["versions"] if one["version"] == version)
    assert made["passed"] and len(made["gates"]) == 5
    kinds = [event["kind"] for event in reversed(models["events"]) if event["job_id"] == job["id"]]
    assert kinds == ["filed", "trained", "gated", "promoted"]


def look_at_the_page(browser: Chrome, url: str, folder: Path) -> None:
    """The page tells the same story."""
    browser.get(f"{url}/model")
    text = browser.find_element("css selector", "main").text
    (folder / "model.png").write_bytes(browser.get_screenshot_as_png())
    assert "Version 2" in text and "judges" in text
    for decision in ("filed", "trained", "gated", "promoted"):
        assert decision in text
    assert console_errors(browser) == []
