"""A browser, and small plants of a test's own: real Cassandra, real API process."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from selenium.webdriver import Chrome

from core.settings import Settings
from local_stack.servers.stack import Stack, endpoints_settings
from storage.driver.migrations import apply_schema, read_migrations
from storage.driver.session import Store, StoreConfig, connect
from tests.browser.demo import Demo
from tests.browser.serving import MISSING, api_of, browser_is_here, chromium, repeated, resize, wear


class Plant(NamedTuple):
    """A plant that goes on living: a sign of life every second."""

    url: str
    demo: Demo
    store: Store
    settings: Settings


def now() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def keyspace_of(stack: Stack, home_of: pytest.TempPathFactory) -> Settings:
    """Settings with empty tables of their own."""
    name = f"test_{uuid.uuid4().hex[:10]}"
    mine = Settings(_env_file=None, home=home_of.mktemp("home"), cassandra_keyspace=name, api_port=0)
    mine = endpoints_settings(mine, stack.endpoints())
    apply_schema(StoreConfig.from_settings(mine), read_migrations(), now())
    return mine


@pytest.fixture(scope="session")
def chrome() -> Iterator[Chrome]:
    """One browser for all tests."""
    if not browser_is_here():
        if os.environ.get("CI") == "true":
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    with chromium() as browser:
        yield browser


@pytest.fixture
def browser(chrome: Chrome) -> Chrome:
    """The browser as a test expects it: a desk's size, light, nothing logged yet."""
    resize(chrome, 1440, 900)
    wear(chrome, "light")
    chrome.get("about:blank")
    chrome.get_log("browser")
    return chrome


@pytest.fixture(scope="module")
def plant(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """Six stations in good order, with 20 minutes of readings."""
    settings = keyspace_of(stack, tmp_path_factory)
    store = connect(StoreConfig.from_settings(settings))
    demo = Demo(store, settings.readings_topic, now(), stations=6, raw_minutes=20, healthy=True)
    demo.advance(demo.now_ms)
    try:
        with repeated(lambda: demo.beat(now()), 1.0), api_of(settings) as url:
            yield Plant(url, demo, store, settings)
    finally:
        store.close()
