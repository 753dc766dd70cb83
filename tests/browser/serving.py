"""The API as a process of its own, a plant that goes on living behind it, and a headless browser before it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from core.settings import PREFIX, Settings
from local_stack.servers.readiness import api_url, missing_for_ready
from tests.paths import ROOT

MISSING = "needs a browser: apt-get install chromium chromium-driver"
SCHEMES = ("light", "dark")


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def until(holds: Callable[[], object], seconds: float, what: str, pause_seconds: float = 0.1) -> None:
    """Wait until `holds()` is true, asking every `pause_seconds`: each question to a browser costs its page time.

    Raises:
        AssertionError: it is not at the deadline.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"after {seconds:g} s still not: {what}"
        time.sleep(pause_seconds)


@contextmanager
def api_of(settings: Settings) -> Iterator[str]:
    """Serve these settings on a free port; yields the URL."""
    names = (
        "home", "cassandra_hosts", "cassandra_port", "cassandra_keyspace", "readings_topic", "api_port",
        "retrain_pause_seconds",
    )  # fmt: skip
    mine = {f"{PREFIX}{name.upper()}": str(getattr(settings, name)) for name in names}
    if settings.api_tokens_file is not None:
        mine[f"{PREFIX}API_TOKENS_FILE"] = str(settings.api_tokens_file)
    settings.home.mkdir(parents=True, exist_ok=True)
    log = settings.home / "api.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "api"], cwd=ROOT, env={**os.environ, **mine}, stdout=out, stderr=out
        )
    try:
        until(lambda: api_url(settings.home) or process.poll() is not None, 30, "the API listens")
        assert process.poll() is None, log.read_text()[-3000:]
        if settings.api_tokens_file is None:
            until(lambda: "store" not in missing_for_ready(api_url(settings.home)), 60, "the API reached Cassandra")
        yield api_url(settings.home)
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def repeated(work: Callable[[], object], seconds: float) -> Iterator[None]:
    """Do `work` every few seconds in the background; what it raises is raised at the end."""
    stop = threading.Event()
    failed: list[BaseException] = []

    def turn() -> None:
        try:
            while not stop.wait(seconds):
                work()
        except BaseException as error:  # noqa: BLE001 - handed over to the caller.
            failed.append(error)

    thread = threading.Thread(target=turn, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)
    if failed:
        raise failed[0]


def browser_is_here() -> bool:
    """Whether Debian's chromium and its driver are installed."""
    return bool(shutil.which("chromium") and shutil.which("chromedriver"))


@contextmanager
def chromium(width: int = 1440, height: int = 900) -> Iterator[Chrome]:
    """A headless browser that logs what its console says."""
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        resize(browser, width, height)
        yield browser
    finally:
        browser.quit()


def text(browser: Chrome, selector: str) -> str:
    """What an element says; empty while there is none."""
    return str(browser.execute_script("return document.querySelector(arguments[0])?.textContent ?? ''", selector))


def texts(browser: Chrome, selector: str) -> list[str]:
    """What all these elements say, white space folded."""
    find = "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent.replace(/\\s+/g, ' '))"
    return list(browser.execute_script(find, selector))


def remember_announcements(browser: Chrome) -> None:
    """Keep what a screen reader is told from here on."""
    browser.execute_script(
        "window.announced = []; const place = document.getElementById('announce');"
        "new MutationObserver(() => window.announced.push(place.textContent)).observe(place, { childList: true });"
    )


def announcements(browser: Chrome) -> list[str]:
    """What a screen reader was told since `remember_announcements`."""
    return list(browser.execute_script("return window.announced"))


def resize(browser: Chrome, width: int, height: int, phone: bool = False) -> None:
    """Give the page this many CSS pixels."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1, "mobile": phone},
    )


def wear(browser: Chrome, scheme: str) -> None:
    """Let the page see this colour scheme."""
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def console_errors(browser: Chrome) -> list[str]:
    """What the console complained about since it was last asked: script errors, refused content, failed requests."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
