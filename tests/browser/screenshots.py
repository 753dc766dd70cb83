"""`make screenshots`: a picture of each view in both schemes, and on a phone, from the recorded run of the tests."""

from __future__ import annotations

import base64
import shutil
import sys
import tempfile
import time
from pathlib import Path

from selenium.webdriver import Chrome

from core.settings import Settings
from local_stack.servers.stack import Stack
from storage.tables.alarms import SILENT, open_keys
from tests.browser.model_life import compare_and_retrain
from tests.browser.recorded_run import RecordedRun, recorded_run, run_settings
from tests.browser.serving import (
    MISSING,
    ROOT,
    SCHEMES,
    api_of,
    browser_is_here,
    chromium,
    resize,
    text,
    until,
    wear,
)
from tests.browser.views import views_of

OUT = ROOT / "docs" / "images"
DESK, PHONE, WALL = (1440, 900), (390, 844), (1600, 900)
STATIONS = 25
VIEWS = ("plant", "station", "anomaly", "alarms", "model")
MOST_BYTES = 300_000


def main() -> None:
    """Start Kafka and Cassandra, record the run, take the pictures, stop everything."""
    if not browser_is_here():
        raise SystemExit(MISSING)
    OUT.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="stationwatch-screenshots-"))
    stack = Stack(Settings(_env_file=None, home=home, kafka_port=0, cassandra_port=0), say=print)
    try:
        with recorded_run(run_settings(stack.up(), home), STATIONS) as run, chromium() as browser:
            take(run, browser)
    finally:
        stack.down()
        shutil.rmtree(home, ignore_errors=True)


def take(run: RecordedRun, browser: Chrome) -> None:
    """Take every picture of a plant that goes on living, and at last one of a plant that nobody watches."""
    compare_and_retrain(run)
    with api_of(run.settings) as url:
        silence = "the silent station is noticed"
        until(lambda: any(key.kind == SILENT for key in open_keys(run.store)), 150, silence)
        views = views_of(run)
        for view in VIEWS:
            for scheme in SCHEMES:
                picture(browser, url + views[view], OUT / f"{view}-{scheme}.png", scheme, DESK)
            picture(browser, url + views[view], OUT / f"{view}-phone.png", "light", PHONE)
        picture(browser, url + views["wall"], OUT / "wall.png", "dark", WALL)
        run.stream.kill()
        browser.get(url)
        until(lambda: "Not watching" in text(browser, "#state"), 150, "the page says that nobody watches")
        picture(browser, url, OUT / "plant-blind.png", "light", DESK)


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


if __name__ == "__main__":
    main()
