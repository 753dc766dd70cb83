"""What axe-core finds, on every view in both schemes, on a desk and on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from api.pages.links import anomaly_url
from local_stack.servers.stack import Stack
from storage.driver.session import StoreConfig, connect
from tests.browser.alarm_rows import write_demo_alarms
from tests.browser.conftest import Plant, keyspace_of, now
from tests.browser.demo import Demo
from tests.browser.model_rows import write_demo_model
from tests.browser.serving import SCHEMES, api_of, console_errors, repeated, resize, until, wear

pytestmark = pytest.mark.timeout(300)

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")
RUN = """
const done = arguments[arguments.length - 1];
axe.run(document, { resultTypes: ["violations"] }).then((found) => done(found.violations.map((one) => ({
  id: one.id, impact: one.impact, help: one.help,
  nodes: one.nodes.slice(0, 3).map((node) => node.html + " " + node.failureSummary),
}))));
"""
SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def troubled(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Plant, dict[str, str]]]:
    """The demo's plant, every condition on it, and the address of each view."""
    settings = keyspace_of(stack, tmp_path_factory)
    store = connect(StoreConfig.from_settings(settings))
    demo = Demo(store, settings.readings_topic, now(), raw_minutes=30)
    demo.advance(demo.now_ms)
    row = demo.strike(3, 5.0, demo.now_ms)
    write_demo_alarms(store, demo.now_ms)
    write_demo_model(store, settings.model_name, settings.readings_topic, demo.now_ms)
    views = {
        "plant": "/",
        "wall": "/?wall=1",
        "station": "/stations/station-0003?range=15m",
        "anomaly": anomaly_url(*row[:3]),
        "alarms": "/alarms",
        "model": "/model",
        "missing": "/stations/nobody",
    }
    try:
        with repeated(lambda: demo.beat(now()), 1.0), api_of(settings) as url:
            yield Plant(url, demo, store, settings), views
    finally:
        store.close()


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("view", ["plant", "wall", "station", "anomaly", "alarms", "model", "missing"])
def test_axe_finds_nothing_serious(
    troubled: tuple[Plant, dict[str, str]], browser: Chrome, view: str, scheme: str, width: int
) -> None:
    """Breaks when contrast, names, roles or order shut somebody out, or a phone has to scroll sideways."""
    plant, views = troubled
    resize(browser, width, 900, phone=width < 600)
    wear(browser, scheme)
    browser.get(plant.url + views[view])
    waiting = "return document.querySelector('#charts')?.getAttribute('aria-busy') !== 'true'"
    until(lambda: browser.execute_script(waiting), 30, "the charts are drawn")
    assert browser.execute_script("return document.documentElement.scrollWidth - innerWidth") <= 0
    errors = [line for line in console_errors(browser) if "404" not in line]
    assert errors == []
    # A tile that changes its condition between two of axe's looks would have the colours of neither.
    browser.execute_script("window.fetch = () => new Promise(() => {})")
    # By the driver, past the content security policy that the page itself lives under.
    browser.execute_script(AXE)
    found = browser.execute_async_script(RUN)
    for one in found:
        print(one["impact"], one["id"], one["help"], *one["nodes"], sep="\n  ")
    assert [one["id"] for one in found if one["impact"] in SERIOUS] == []
