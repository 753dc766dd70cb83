"""What axe-core finds, on every view in both schemes, on a desk and on a phone."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from tests.browser.serving import SCHEMES, console_errors, resize, until, wear

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


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("view", ["plant", "wall", "station", "anomaly", "alarms", "model", "missing"])
def test_axe_finds_nothing_serious(views: dict[str, str], browser: Chrome, view: str, width: int) -> None:
    """Breaks when contrast, names, roles or order shut somebody out, or a phone has to scroll sideways."""
    resize(browser, width, 900, phone=width < 600)
    browser.get(views[view])
    waiting = "return document.querySelector('#charts')?.getAttribute('aria-busy') !== 'true'"
    until(lambda: browser.execute_script(waiting), 30, "the charts are drawn")
    # A tile that changes its condition between two of axe's looks would have the colours of neither.
    browser.execute_script("window.fetch = () => new Promise(() => {})")
    # By the driver, past the content security policy that the page itself lives under.
    browser.execute_script(AXE)
    for scheme in SCHEMES:
        wear(browser, scheme)
        assert browser.execute_script(f"return matchMedia('(prefers-color-scheme: {scheme})').matches")
        assert browser.execute_script("return document.documentElement.scrollWidth - innerWidth") <= 0
        found = browser.execute_async_script(RUN)
        for one in found:
            print(scheme, one["impact"], one["id"], one["help"], *one["nodes"], sep="\n  ")
        assert [one["id"] for one in found if one["impact"] in SERIOUS] == []
    errors = [line for line in console_errors(browser) if "404" not in line]
    assert errors == []
