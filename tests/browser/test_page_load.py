"""A thousand stations and 500 readings a second in front of a real browser."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from core.sensors import DEFAULT_SENSORS
from local_stack.servers.stack import Stack
from storage.driver.session import StoreConfig, connect
from storage.tables.minutes import SensorMinute
from storage.tables.stations import StationRow, write_stations
from storage.tables.stream_progress import heartbeat
from tests.browser.conftest import Plant, keyspace_of, now
from tests.browser.demo import Demo
from tests.browser.serving import api_of, repeated, until

pytestmark = pytest.mark.timeout(300)

STATIONS = 1000
REFRESH_SECONDS = 0.5
KEY_SECONDS = 0.4
"""Of the page's thread, in its own processor time: what the rest of the machine does decides nothing."""

WATCH = """
window.tasks = [];
new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map((entry) => entry.duration)))
  .observe({ type: "longtask" });
"""
TURNS = "return performance.getEntriesByType('resource').filter((entry) => entry.name.includes('/pages/plant')).length"


@pytest.fixture(scope="module")
def crowd(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """1,000 stations, of which 500 report each second, some of them abnormally."""
    settings = keyspace_of(stack, tmp_path_factory)
    store = connect(StoreConfig.from_settings(settings))
    demo = Demo(store, settings.readings_topic, now(), stations=40, raw_minutes=1, healthy=True)
    rng, turn = np.random.default_rng(1), iter(range(10**9))

    def report(indices: range) -> None:
        at = now()
        held = {
            at - at % 60_000: {s.name: SensorMinute(20.0, 21.0, 22.0, 60, 15.0, 21.0, 27.0) for s in DEFAULT_SENSORS}
        }
        values = rng.normal(21.0, 1.0, (len(indices), len(DEFAULT_SENSORS))).round(1).tolist()
        names = [sensor.name for sensor in DEFAULT_SENSORS]
        ordinal = at // 1000 - 1_794_000_000
        write_stations(
            store,
            [
                StationRow(f"station-{index:04d}", at, at, ordinal, 2.0, dict(zip(names, row, strict=True)), held)
                for index, row in zip(indices, values, strict=True)
            ],
        )
        heartbeat(store, settings.readings_topic, at)

    def second() -> None:
        half = next(turn) % 2
        report(range(half, STATIONS, 2))
        for index in rng.integers(0, 40, 5).tolist():
            demo.strike(index, float(rng.uniform(1.1, 8)), now())

    report(range(STATIONS))
    try:
        with repeated(second, 1.0), api_of(settings) as url:
            yield Plant(url, demo, store, settings)
    finally:
        store.close()


PARTS = ("Script", "RecalcStyle", "Layout", "Task")


def busy_seconds(browser: Chrome) -> np.ndarray:
    """Processor time of the page's thread since the measuring began, s: for each of `PARTS`; tasks are all of it."""
    metrics = {one["name"]: one["value"] for one in browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]}
    return np.array([metrics[f"{part}Duration"] for part in PARTS])


def visible(browser: Chrome) -> list[str]:
    """Stations whose tiles are shown."""
    find = "return [...document.querySelectorAll('.tile:not([hidden])')].map((tile) => tile.dataset.id)"
    return list(browser.execute_script(find))


def test_a_thousand_stations_and_500_readings_a_second_do_not_freeze_it(crowd: Plant, browser: Chrome) -> None:
    """Breaks when a refresh holds the page's thread so long that typing and scrolling stutter."""
    browser.get(crowd.url)
    until(lambda: len(browser.find_elements(By.CSS_SELECTOR, ".tile")) == STATIONS, 90, "all tiles are there")
    browser.execute_script(WATCH)
    until(lambda: browser.execute_script(TURNS), 60, "it is live")
    browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
    begun, turns, busy = now(), browser.execute_script(TURNS), busy_seconds(browser)
    seen = set()

    def watched() -> bool:
        seen.add(browser.execute_script("return document.querySelector('#tiles .value').textContent"))
        return bool(browser.execute_script(TURNS) >= turns + 4)

    # Seldom, because each question takes the page's thread too: ten a second cost more than all else.
    until(watched, 120, "four refreshes came", pause_seconds=4.0)
    turns, parts = browser.execute_script(TURNS) - turns, busy_seconds(browser) - busy
    busy = parts[-1]
    search, keys = browser.find_element(By.ID, "q"), "0421"
    search.click()
    typed = busy_seconds(browser)
    for key in keys:
        # As the keyboard does; the driver's own way looks at the whole page before each key.
        browser.execute_cdp_cmd("Input.insertText", {"text": key})
    until(lambda: len(visible(browser)) == 1, 30, "the search holds")
    typed = (busy_seconds(browser) - typed)[-1] / len(keys)
    tasks = browser.execute_script("return window.tasks")
    browser.execute_cdp_cmd("Performance.disable", {})
    print({part: f"{seconds / turns:.3f} s" for part, seconds in zip(PARTS, parts, strict=True)})
    print(
        f"{(now() - begun) / 1000:.0f} s, {turns} refreshes of {busy / turns:.3f} s, {typed:.3f} s a key; by the clock "
        f"{len(tasks)} long tasks, median {np.median(tasks or [0]):.0f} ms, longest {max(tasks, default=0):.0f} ms"
    )
    assert len(seen) > 1, "the figures moved while it was watched"
    assert busy / turns < REFRESH_SECONDS
    assert typed < KEY_SECONDS
