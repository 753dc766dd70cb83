"""`make screenshots`: a picture of each view in both schemes, and on a phone, from the demo's plant."""

from __future__ import annotations

import base64
import shutil
import sys
import tempfile
import time
import uuid
from pathlib import Path

from selenium.webdriver import Chrome

from api.pages.links import anomaly_url
from core.settings import Settings
from local_stack.servers.stack import Stack, endpoints_settings
from storage.driver.migrations import apply_schema, read_migrations
from storage.driver.session import StoreConfig, connect
from storage.tables.alarms import SILENT, open_keys
from storage.tables.anomaly_scan import by_station
from tests.browser.demo import Demo
from tests.browser.model_rows import write_demo_model
from tests.browser.serving import (
    MISSING,
    ROOT,
    SCHEMES,
    api_of,
    browser_is_here,
    chromium,
    repeated,
    resize,
    until,
    wear,
)
from tests.integration.alarms.alarm_parts import alarms_of

OUT = ROOT / "docs" / "images"
DESK, PHONE, WALL = (1440, 900), (390, 844), (1600, 900)
MOST_BYTES = 300_000


def main() -> None:
    """Start Cassandra, write the demo, take the pictures, stop everything."""
    if not browser_is_here():
        raise SystemExit(MISSING)
    OUT.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="stationwatch-screenshots-"))
    groups = {"hall-a": "station-000*", "hall-b": "station-00*"}
    settings = Settings(
        _env_file=None, home=home, kafka_port=0, cassandra_port=0, api_port=0, alarms_metrics_port=0,
        station_groups=groups,
    )  # fmt: skip
    stack = Stack(settings, say=print)
    try:
        endpoints = stack.up()
        name = f"demo_{uuid.uuid4().hex[:6]}"
        take(endpoints_settings(settings.model_copy(update={"cassandra_keyspace": name}), endpoints))
    finally:
        stack.down()
        shutil.rmtree(home, ignore_errors=True)


def take(settings: Settings) -> None:
    """Take every picture of a plant that goes on living."""
    config = StoreConfig.from_settings(settings)
    apply_schema(config, read_migrations(), now())
    store = connect(config)
    try:
        demo = Demo(store, settings.readings_topic, now())
        demo.write()
        write_demo_model(store, settings.model_name, settings.readings_topic, demo.now_ms)
        worst = max(by_station(store, "station-0003", demo.now_ms - 600_000, demo.now_ms), key=lambda row: row.severity)
        with (
            repeated(lambda: demo.advance(now()), 1.0),
            alarms_of(settings),
            api_of(settings) as url,
            chromium() as browser,
        ):
            views = {"plant": "/", "station": "/stations/station-0003", "anomaly": anomaly_url(*worst[:3])}
            views |= {"alarms": "/alarms", "model": "/model"}
            noticed = "the silent station is noticed"
            until(lambda: any(key.kind == SILENT for key in open_keys(store)), 150, noticed)
            for view, path in views.items():
                for scheme in SCHEMES:
                    picture(browser, url + path, OUT / f"{view}-{scheme}.png", scheme, DESK)
                picture(browser, url + path, OUT / f"{view}-phone.png", "light", PHONE)
            picture(browser, f"{url}/stations/station-0003?range=30d", OUT / "station-30d.png", "light", DESK)
            picture(browser, url + "/?wall=1", OUT / "wall.png", "dark", WALL)
        with repeated(lambda: demo.beat(demo.now_ms - 600_000), 1.0), api_of(settings) as url, chromium() as browser:
            picture(browser, url + "/", OUT / "plant-blind.png", "light", DESK)
    finally:
        store.close()


def picture(browser: Chrome, address: str, place: Path, scheme: str, size: tuple[int, int]) -> None:
    """Save what a screen of this size shows once all is drawn."""
    width, height = size
    resize(browser, width, height, phone=width < 600)
    wear(browser, scheme)
    browser.get(address)
    drawn = "return document.querySelector('#charts')?.getAttribute('aria-busy') !== 'true'"
    until(lambda: browser.execute_script(drawn), 60, f"{place.name} is drawn")
    time.sleep(3)  # One refresh, so that the picture shows the live page.
    place.write_bytes(base64.b64decode(browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]))
    length = place.stat().st_size
    print(f"{place.relative_to(ROOT)}: {length // 1000} kB")
    if length > MOST_BYTES:
        print(f"{place.name} is larger than {MOST_BYTES // 1000} kB", file=sys.stderr)


def now() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


if __name__ == "__main__":
    main()
