"""The alarms in a real browser: they appear, people handle them, by mouse or keyboard, and are told what went wrong."""

from __future__ import annotations

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

from api.http.opaque_ids import alarm_id
from core.alarm import Done
from storage.tables.alarm_actions import ActionRow, actions_of, add_action
from storage.tables.alarms import AlarmRow
from tests.browser.conftest import Plant
from tests.browser.recorded_run import IMPLAUSIBLE, MISSING, STUCK
from tests.browser.serving import SCHEMES, announcements, console_errors, now_ms, remember_announcements, until, wear
from tests.browser.test_page_access import AXE, RUN, SERIOUS

pytestmark = pytest.mark.timeout(300)
SECONDS = 60


def open_alarm(plant: Plant, browser: Chrome, index: int) -> AlarmRow:
    """The open alarm of a station, with the page of alarms before it. Each test acts on another station."""
    row = plant.run.open_alarms()[f"station-{index:04d}"]
    browser.get(plant.url + "/alarms")
    until(lambda: line(browser, row), SECONDS, "the alarm is listed")
    return row


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


def test_an_alarm_is_acknowledged_shelved_and_cleared(plant: Plant, browser: Chrome) -> None:
    """Breaks when a button does nothing, what was said is lost, or a cleared alarm stays."""
    opened = open_alarm(plant, browser, STUCK)
    until(lambda: plant.get("/pages/alarms")["headline"] in browser.title, SECONDS, "the tab says it")
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


def test_the_keyboard_is_enough_and_leaving_does_nothing(plant: Plant, browser: Chrome) -> None:
    """Breaks when a dialog traps or loses the focus, or closing it acts."""
    opened = open_alarm(plant, browser, IMPLAUSIBLE)
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


def test_somebody_else_was_quicker_and_it_says_so(plant: Plant, browser: Chrome) -> None:
    """Breaks when a refusal looks like success."""
    opened = open_alarm(plant, browser, MISSING)
    press(browser, opened, "acknowledge")
    assert add_action(plant.store, opened.key, ActionRow(0, Done("acknowledge", now_ms(), None, "Ben"), "one"))
    browser.find_element(By.ID, "question-do").click()
    problem = browser.find_element(By.ID, "question-problem")
    until(lambda: "acknowledged" in problem.text, SECONDS, "it says why")
    assert problem.text.startswith("Not done: The alarm is acknowledged")
    browser.find_element(By.ID, "question-leave").click()
    until(lambda: state(browser, opened) == "acknowledged by Ben", SECONDS, "the list shows it")


def test_new_alarms_appear_on_all_three_pages(plant: Plant, browser: Chrome) -> None:
    """Breaks when an open page misses an alarm, or a screen reader is not told."""
    open_alarm(plant, browser, IMPLAUSIBLE)
    remember_announcements(browser)
    plant.run.add_fault(12, "temperature", "dropout", 1.0, 600)
    name = plant.run.plant.ids[12]
    until(lambda: name in plant.run.open_alarms(), SECONDS, "the alarm is stored")
    other = plant.run.open_alarms()[name]
    until(lambda: line(browser, other), SECONDS, "it appears by itself")
    found = line(browser, other)
    assert found is not None
    told = f"New alarm: {name}, {found.get_attribute('data-condition')}."
    assert any(told in said for said in announcements(browser)), announcements(browser)
    until(lambda: plant.run.open_alarms()[name].sentence in found.text, SECONDS, "its sentence is the stored one")
    browser.get(plant.url)
    link = browser.find_element(By.ID, "alarms-said")
    until(lambda: link.text == plant.get("/pages/alarms")["headline"], SECONDS, "the plant says it")
    browser.get(f"{plant.url}/stations/{name}")
    until(lambda: line(browser, other), SECONDS, "the station shows it")
    press(browser, other, "clear")
    browser.find_element(By.ID, "question-do").click()
    # By whom: a browser that has run other tests remembers a name.
    until(lambda: state(browser, other).startswith("cleared"), SECONDS, "it is cleared there too")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_nothing_in_the_question(plant: Plant, browser: Chrome, scheme: str) -> None:
    """Breaks when the dialog shuts somebody out."""
    opened = open_alarm(plant, browser, IMPLAUSIBLE)
    wear(browser, scheme)
    press(browser, opened, "shelve")
    browser.execute_script("window.fetch = () => new Promise(() => {})")
    browser.execute_script(AXE)
    found = browser.execute_async_script(RUN)
    assert [one for one in found if one["impact"] in SERIOUS] == []
