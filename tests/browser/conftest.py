"""A browser, and one recorded run with its API for all tests of this folder: real Kafka, Spark, Cassandra, API."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest
import requests
from selenium.webdriver import Chrome

from core.settings import Settings
from local_stack.servers.stack import Stack
from storage.driver.migrations import apply_schema, read_migrations
from storage.driver.session import Store, StoreConfig
from tests.browser.model_life import compare_and_retrain
from tests.browser.recorded_run import RecordedRun, recorded_run, run_settings
from tests.browser.serving import MISSING, api_of, browser_is_here, chromium, now_ms, resize, wear
from tests.browser.views import views_of


class Plant(NamedTuple):
    """The plant of a recorded run that goes on, behind an API."""

    url: str
    run: RecordedRun
    store: Store
    settings: Settings

    def get(self, path: str) -> Any:
        """A JSON document of the API."""
        answer = requests.get(f"{self.url}{path}", timeout=30)
        assert answer.ok, f"{path}: {answer.status_code} {answer.text[:300]}"
        return answer.json()


@pytest.fixture(scope="module", autouse=True)
def _keyspaces_end_with_their_tests() -> None:
    """Keep the recorded run's keyspace from module to module; it goes with those of the next folder's first module."""


@pytest.fixture(scope="package")
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


@pytest.fixture(scope="package")
def plant(chrome: Chrome, stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """The recorded run. The browser comes first: without one, nothing is recorded."""
    settings = run_settings(stack.endpoints(), tmp_path_factory.mktemp("home"))
    with recorded_run(settings) as run, api_of(settings) as url:
        yield Plant(url, run, run.store, settings)


@pytest.fixture(scope="package", autouse=True)
def crowd_tables(plant: Plant) -> Iterator[Future[Settings]]:
    """Settings with empty tables beside those of the run, made in the background: they take ten seconds."""
    name = f"{plant.settings.cassandra_keyspace}_crowd"
    changes = {"cassandra_keyspace": name, "readings_topic": name, "home": plant.settings.home / "crowd"}
    settings = plant.settings.model_copy(update=changes)

    def make() -> Settings:
        apply_schema(StoreConfig.from_settings(settings), read_migrations(), now_ms())
        return settings

    with ThreadPoolExecutor(1) as beside:
        yield beside.submit(make)


@pytest.fixture(scope="package")
def retrained_plant(plant: Plant) -> Plant:
    """The plant after a drift check and a retraining, with a challenger."""
    compare_and_retrain(plant.run)
    return plant


@pytest.fixture(scope="package")
def views(retrained_plant: Plant) -> dict[str, str]:
    """View → its address, of the plant whose model was retrained."""
    return {view: retrained_plant.url + path for view, path in views_of(retrained_plant.run).items()}
