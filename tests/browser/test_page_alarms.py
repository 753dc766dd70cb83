"""The alarms in a real browser: they appear, people handle them, by mouse or keyboard, and are told what went wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

from api.http.opaque_ids import alarm_id
from core.alarm import Done
from storage.tables.alarm_actions import ActionRow, actions_of, add_action
from storage.tables.alarms import AlarmRow, write_alarms
from tests.browser.alarm_rows import MINUTE_MS, alarm_row
from tests.browser.conftest import Plant, now
from tests.browser.serving import SCHEMES, console_errors, until, wear
from tests.browser.test_page_access import AXE, RUN, SERIOUS

pytestmark = pytest.mark.timeout(300)
SECONDS = 30


@pytest.fixture
def opened(plant: Plant, browser: Chrome) -> Iterator[AlarmRow]:
    """An alarm of station 1, with the page of alarms before it; over at the end."""
    row = alarm_row(1, now() - 2 * MINUTE_MS)
    write_alarms(plant.store, [row], now() * 1000)
    browser.get(plant.url + "/alarms")
    # A look of a second ago is shown to all.
    until(lambda: line(browser, row), SECONDS, "the alarm is listed")
    yield row
    write_alarms(plant.store, [row._replace(closed_ms=now())], now() * 1000)


def line(browser: Chrome, row: AlarmRow) -> WebElement | None:
    """The alarm's place in the list."""
    found = browser.find_elements(By.CSS_SELECTOR, f'.alarm[data-id="{alarm_id(row.key)}"]')
    return found[0] if found else None


def press(browser: Chrome, row: AlarmRow, action: str) -> None:
    found = line(browser, row)
    assert found is not None
    found.find_element(By.CSS_SELECTOR, f'[data-action="{action}"]').click()
    until(lambda: browser.find_element(By.ID, "question").is_displayed(), SECONDS, "it asks first")


def state(browser: Chrome, row: AlarmRow) -> str:
    return str(
        browser.execute_script(
            "return document.querySelector(`.alarm[data-id=\"${arguments[0]}\"] .state`)?.textContent ?? ''",
            alarm_id(row.key),
        )
    )


def test_an_alarm_is_acknowledged_shelved_and_cleared(plant: Plant, browser: Chrome, opened: AlarmRow) -> None:
    """Breaks when a button does nothing, what was said is lost, or a cleared alarm stays."""
    until(lambda: "1 open alarm, 1 not looked after" in browser.title, SECONDS, "the tab says it")
    press(browser, opened, "acknowledge")
    browser.find_element(By.ID, "said").send_keys("on my way")
    browser.find_element(By.ID, "by").send_keys("Anna")
    browser.find_element(By.ID, "question-do").click()
    until(lambda: state(browser, opened) == "acknowledged by Anna", SECONDS, "it is acknowledged")
    found = line(browser, opened)
    assert found is not None
    assert "on my way" in found.text
    assert not found.find_element(By.CSS_SELECTOR, '[data-action="acknowledge"]').is_displayed(), "legal ones only"
    press(browser, opened, "shelve")
    assert browser.find_element(By.ID, "by").get_attribute("value") == "Anna", "the name is remembered"
    Select(browser.find_element(By.ID, "hours")).select_by_value("24")
    browser.find_element(By.ID, "question-do").click()
    until(lambda: state(browser, opened).startswith("shelved until"), SECONDS, "it is shelved")
    press(browser, opened, "clear")
    browser.find_element(By.ID, "question-do").click()
    until(lambda: line(browser, opened) is None, SECONDS, "it is gone")
    done = [action.done for action in actions_of(plant.store, [opened.key])[opened.key]]
    assert [(one.action, one.by) for one in done] == [("acknowledge", "Anna"), ("shelve", "Anna"), ("clear", "Anna")]
    assert console_errors(browser) == []


def test_the_keyboard_is_enough_and_leaving_does_nothing(plant: Plant, browser: Chrome, opened: AlarmRow) -> None:
    """Breaks when a dialog traps or loses the focus, or closing it acts."""
    found = line(browser, opened)
    assert found is not None
    browser.execute_script("arguments[0].focus()", found.find_element(By.CSS_SELECTOR, '[data-action="acknowledge"]'))
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    until(lambda: browser.find_element(By.ID, "question").is_displayed(), SECONDS, "it asks first")
    inside = "return document.getElementById('question').contains(document.activeElement)"
    assert browser.execute_script(inside)
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    until(lambda: not browser.find_element(By.ID, "question").is_displayed(), SECONDS, "Escape leaves")
    assert browser.switch_to.active_element.get_attribute("data-action") == "acknowledge", "the focus is back"
    assert actions_of(plant.store, [opened.key]) == {}


def test_somebody_else_was_quicker_and_it_says_so(plant: Plant, browser: Chrome, opened: AlarmRow) -> None:
    """Breaks when a refusal looks like success."""
    press(browser, opened, "acknowledge")
    assert add_action(plant.store, opened.key, ActionRow(0, Done("acknowledge", now(), None, "Ben"), "one"))
    browser.find_element(By.ID, "question-do").click()
    problem = browser.find_element(By.ID, "question-problem")
    until(lambda: "acknowledged" in problem.text, SECONDS, "it says why")
    assert problem.text.startswith("Not done: The alarm is acknowledged")
    browser.find_element(By.ID, "question-leave").click()
    until(lambda: state(browser, opened) == "acknowledged by Ben", SECONDS, "the list shows it")


def test_new_alarms_appear_on_all_three_pages(plant: Plant, browser: Chrome, opened: AlarmRow) -> None:
    """Breaks when an open page misses an alarm, or a screen reader is not told."""
    other = alarm_row(2, now() - MINUTE_MS, 30.0)
    write_alarms(plant.store, [other], now() * 1000)
    try:
        until(lambda: line(browser, other), SECONDS, "it appears by itself")
        said = browser.find_element(By.ID, "announce").get_attribute("textContent")
        assert said == "New alarm: station-0002, minor."
        browser.get(plant.url)
        link = browser.find_element(By.ID, "alarms-said")
        until(lambda: link.text == "2 open alarms, 2 not looked after", SECONDS, "the plant says it")
        browser.get(plant.url + "/stations/station-0002")
        until(lambda: line(browser, other), SECONDS, "the station shows it")
        press(browser, other, "clear")
        browser.find_element(By.ID, "question-do").click()
        # By whom: a browser that has run other tests remembers a name.
        until(lambda: state(browser, other).startswith("cleared"), SECONDS, "it is cleared there too")
    finally:
        write_alarms(plant.store, [other._replace(closed_ms=now())], now() * 1000)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_nothing_in_the_question(browser: Chrome, opened: AlarmRow, scheme: str) -> None:
    """Breaks when the dialog shuts somebody out."""
    wear(browser, scheme)
    press(browser, opened, "shelve")
    browser.execute_script("window.fetch = () => new Promise(() => {})")
    browser.execute_script(AXE)
    found = browser.execute_async_script(RUN)
    assert [one for one in found if one["impact"] in SERIOUS] == []
