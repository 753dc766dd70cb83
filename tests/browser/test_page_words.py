"""Every page speaks to people: no value of a program is printed as the program would print it."""

from __future__ import annotations

import re
from html import unescape

import pytest
import requests
from selenium.webdriver import Chrome

from api.pages.links import anomaly_url, station_url
from tests.browser.conftest import Plant
from tests.browser.recorded_run import STATIONS
from tests.browser.serving import text, until
from tests.browser.views import kinds_of_anomaly

pytestmark = pytest.mark.timeout(300)

PROGRAM_VALUE = re.compile(
    r"""\{\s*["'] | \[\s*["'] | \(\s*['"] | ["']\s*:\s | &\#3[49]; | \ object\ at\ 0x | \[object\ | </?\w+>
    | \b(None|True|False(?!\ alarm)|NaN|nan|null|undefined|inf|Infinity|NULL)\b
    | \b\w+\(\w+= | \b(datetime|np)\. | \{\{ | \d\.\d{7,}""",
    re.VERBOSE,
)
"""A dictionary, a list or tuple of strings, an object, markup, nothing, a number that nobody rounded."""

VISIBLE = "return document.title + ' ' + document.body.innerText"
NOT_TEXT = re.compile(r"<(script|style|template)\b.*?</\1>|<!--.*?-->|<[^>]*>", re.DOTALL)


EMPTY_LIST = re.compile(r"^\s*None\.\s*$", re.MULTILINE)
"""A line of its own: what a page says of a list without entries."""


def program_values(said: str) -> list[str]:
    """Where a text looks as if a program had printed a value: each with what stands around it."""
    said = EMPTY_LIST.sub("", said)
    return [said[max(0, hit.start() - 30) : hit.end() + 40] for hit in PROGRAM_VALUE.finditer(said)]


@pytest.mark.parametrize(
    "said",
    ["{'text': 'Check the fan.'}", "['a', 'b']", "seen None times", "nan °C", "<Sensor object at 0x7f>", "&#39;",
     "[object Object]", "undefined", "Sensor(name='x')", "21.499999999999996 °C"],
)  # fmt: skip
def test_the_search_finds_what_a_program_prints(said: str) -> None:
    """Breaks when the tests below would pass on a page that prints such a value."""
    assert program_values(said)


@pytest.mark.parametrize("view", ["plant", "wall", "station", "anomaly", "alarms", "model", "missing"])
def test_no_view_shows_a_value_as_a_program_prints_it(views: dict[str, str], browser: Chrome, view: str) -> None:
    """Breaks when server or script puts a dictionary, an object or a missing value in front of people."""
    browser.get(views[view])
    drawn = "return document.querySelector('#charts')?.getAttribute('aria-busy') !== 'true'"
    until(lambda: browser.execute_script(drawn), 60, "the charts are drawn")
    assert program_values(str(browser.execute_script(VISIBLE))) == []
    assert text(browser, "h1")


def test_no_page_of_the_run_holds_a_value_as_a_program_prints_it(plant: Plant) -> None:
    """Breaks when a kind of anomaly, or a condition of a station, prints such a value on its page."""
    kinds = kinds_of_anomaly(plant.run)
    assert len(kinds) > 5 and {"stuck", "missing"} <= {kind.split(" / ")[0] for kind in kinds}
    paths = [anomaly_url(*row[:3]) for row in kinds.values()] + [station_url(name) for name in plant.run.plant.ids]
    assert len(paths) == len(kinds) + STATIONS
    found = {}
    for path in paths:
        answer = requests.get(plant.url + path, timeout=30)
        assert answer.ok, path
        values = program_values(unescape(NOT_TEXT.sub(" ", answer.text)))
        if values:
            found[path] = values
    assert found == {}
