"""A thousand stations and 500 readings a second in front of a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future

import numpy as np
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from core.settings import Settings
from core.times import MINUTE_MS, floored
from storage.driver.session import Store, StoreConfig, connect
from storage.tables.anomalies import AnomalyRow, write_anomalies
from storage.tables.stations import StationRow, station, write_stations
from storage.tables.stream_progress import heartbeat, mark_complete
from tests.browser.conftest import Plant
from tests.browser.serving import api_of, now_ms, repeated, until

pytestmark = pytest.mark.timeout(300)

STATIONS = 1000
REFRESHES = 3
REFRESH_SECONDS = 0.5
KEY_SECONDS = 0.4
"""Of the page's thread, in its own processor time: what the rest of the machine does decides nothing."""

WATCH = """
window.tasks = [];
new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map((entry) => entry.duration)))
  .observe({ type: "longtask" });
"""
TURNS = "return performance.getEntriesByType('resource').filter((entry) => entry.name.includes('/pages/plant')).length"


class Crowd:
    """Rows that the stream wrote, copied under other stations and moments: as if so many stations were there.

    A copy has another station, another time and another place in Kafka; verdicts and values are those of the stream.

    Args:
        store: where the copies go.
        topic: that they seem to come from.
        stations: of the recorded run, with their open minutes.
        anomalies: of the recorded run.
    """

    def __init__(self, store: Store, topic: str, stations: list[StationRow], anomalies: list[AnomalyRow]) -> None:
        self._store, self._topic = store, topic
        self._stations, self._anomalies = stations, anomalies
        self._rng = np.random.default_rng(1)
        self._turn = 0

    def report(self, indices: range) -> None:
        """Let stations be heard of: each with what another recorded station measured than the last time."""
        at_ms = now_ms()
        write_stations(self._store, (self._copied(index, at_ms) for index in indices))
        heartbeat(self._store, self._topic, at_ms)

    def second(self) -> None:
        """Half of the stations report, five of them abnormally."""
        self._turn += 1
        self.report(range(self._turn % 2, STATIONS, 2))
        at_ms = now_ms()
        rows = []
        for place, index in enumerate(self._rng.integers(0, 40, 5).tolist()):
            row = self._anomalies[int(self._rng.integers(len(self._anomalies)))]
            times = {name: at_ms for name in ("event_ms", "record_ms", "scored_ms", "stored_ms")}
            moved = {
                "kafka_partition": 0,
                "kafka_offset": 5 * self._turn + place,
                "ordinal": at_ms // 1000,
                "seq": place,
            }
            rows.append(row._replace(station_id=f"station-{index:04d}", **times, **moved))
        write_anomalies(self._store, rows)
        mark_complete(self._store, self._topic, {0: 5 * self._turn + 5}, 1)

    def _copied(self, index: int, at_ms: int) -> StationRow:
        row = self._stations[(index + self._turn) % len(self._stations)]
        newest = row.open_minutes[max(row.open_minutes)]
        times = {"clock_ms": at_ms, "last_record_ms": at_ms, "readings": at_ms // 1000}
        opened = {floored(at_ms, MINUTE_MS): newest}
        return row._replace(station_id=f"station-{index:04d}", open_minutes=opened, **times)


@pytest.fixture(scope="module")
def crowd(plant: Plant, crowd_tables: Future[Settings]) -> Iterator[Plant]:
    """1,000 stations, of which 500 report each second, some of them abnormally."""
    settings = crowd_tables.result(120)
    store = connect(StoreConfig.from_settings(settings))
    rows = [station(plant.store, name) for name in plant.run.plant.ids]
    lively = [row for row in rows if row.open_minutes and len(row.sensors) == len(settings.sensors)]
    found = Crowd(store, settings.readings_topic, lively, plant.run.anomalies()[:500])
    found.report(range(STATIONS))
    try:
        with repeated(found.second, 1.0), api_of(settings) as url:
            yield plant._replace(url=url, store=store, settings=settings)
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
    begun, turns, busy = now_ms(), browser.execute_script(TURNS), busy_seconds(browser)
    seen = set()

    def watched() -> bool:
        seen.add(browser.execute_script("return document.querySelector('#tiles .value').textContent"))
        return bool(browser.execute_script(TURNS) >= turns + REFRESHES)

    # Seldom, because each question takes the page's thread too: ten a second cost more than all else.
    until(watched, 120, f"{REFRESHES} refreshes came", pause_seconds=4.0)
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
        f"{(now_ms() - begun) / 1000:.0f} s, {turns} refreshes of {busy / turns:.3f} s, {typed:.3f} s a key; "
        f"by the clock {len(tasks)} long tasks, median {np.median(tasks or [0]):.0f} ms, "
        f"longest {max(tasks, default=0):.0f} ms"
    )
    assert len(seen) > 1, "the figures moved while it was watched"
    assert busy / turns < REFRESH_SECONDS
    assert typed < KEY_SECONDS
