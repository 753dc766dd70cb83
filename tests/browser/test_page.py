"""The page in a real browser: what a shift leader sees, does, and must not miss."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from api.http.opaque_ids import identity_of
from api.pages.conditions import TROUBLES
from api.pages.links import anomaly_url
from storage.tables.anomalies import AnomalyRow, anomaly, write_anomalies
from storage.tables.feedback import feedback_of
from storage.tables.stream_progress import heartbeat
from tests.browser.conftest import Plant
from tests.browser.recorded_run import IMPLAUSIBLE, STATIONS
from tests.browser.serving import (
    announcements,
    api_of,
    console_errors,
    now_ms,
    remember_announcements,
    text,
    texts,
    until,
)

pytestmark = pytest.mark.timeout(300)

SECONDS = 60.0
FROZEN = "window.fetch = () => new Promise(() => {})"
"""No refresh comes any more."""

SHOWN = "return [...document.querySelectorAll('.tile')].filter((tile) => !tile.hidden).map((tile) => tile.dataset.id)"


def css(browser: Chrome, selector: str) -> Any:
    return browser.find_element(By.CSS_SELECTOR, selector)


def tile(browser: Chrome, index: int) -> Any:
    return css(browser, f'.tile[data-id="station-{index:04d}"]')


def condition(browser: Chrome, index: int) -> Callable[[], str]:
    """What a tile shows; empty while the page says that the store is away, which it does on a busy machine."""
    find = f"return document.querySelector('.tile[data-id=\"station-{index:04d}\"]')?.dataset.condition ?? ''"
    return lambda: str(browser.execute_script(find))


def ready(browser: Chrome) -> None:
    until(lambda: css(browser, "#charts").get_attribute("aria-busy") == "false", SECONDS, "the charts are drawn")


def stored_row(plant: Plant, browser: Chrome) -> AnomalyRow:
    """The stored anomaly whose page is open."""
    identity = identity_of(css(browser, "#anomaly").get_attribute("data-id"))
    assert identity is not None
    row = anomaly(plant.store, *identity)
    assert row is not None
    return row


def test_a_fault_appears_without_reload_and_leads_to_its_reason(plant: Plant, browser: Chrome) -> None:
    """Breaks when a shift leader would have to reload, the worst is not first, or a tile does not lead to the why."""
    browser.get(plant.url)
    until(lambda: condition(browser, 4)() == "normal", SECONDS, "the station is normal")
    browser.execute_script("window.kept = true")
    until(lambda: browser.execute_script("return document.querySelector('#tiles .tile').parts"), SECONDS, "it is live")
    remember_announcements(browser)
    plant.run.add_fault(4, "temperature", "shift", 60.0, 120)
    until(lambda: condition(browser, 4)() == "critical", SECONDS, "the tile shows the fault")
    first = '#tiles .tile:first-child[data-id="station-0004"]'
    until(lambda: browser.find_elements(By.CSS_SELECTOR, first), SECONDS, "the worst is first")
    assert browser.execute_script("return window.kept"), "the page was not loaded again"
    assert any("station-0004" in said for said in announcements(browser)), "a screen reader is told"
    conditions = [one.get_attribute("data-condition") for one in browser.find_elements(By.CSS_SELECTOR, ".tile")]
    assert f"{conditions.count('critical')} critical" in browser.title
    opened = sum(one in TROUBLES for one in conditions)
    assert opened > 1 and css(browser, "#open-count").text == f"{opened} open episodes"

    tile(browser, 4).find_element(By.TAG_NAME, "a").click()
    until(lambda: "/stations/station-0004" in browser.current_url, SECONDS, "the tile leads to the station")
    ready(browser)
    css(browser, "#episodes a").click()
    until(lambda: "/anomalies/" in browser.current_url, SECONDS, "the episode leads to the anomaly")
    ready(browser)
    row = stored_row(plant, browser)
    verdict = json.loads(row.verdict)
    assert row.station_id == "station-0004"
    assert css(browser, "h1").text == verdict["explanation"]
    assert f"{row.sensors['temperature']:.1f}" in css(browser, "h1").text
    assert css(browser, ".action p").text == verdict["action"]["text"]
    assert css(browser, "#cause-head + p").text == verdict["cause"]["hint"]
    assert f"version {row.model_version}" in css(browser, ".facts").text
    fired = sum(witness["fired"] for witness in verdict["witnesses"]) + len(verdict["rules"])
    assert len(browser.find_elements(By.CSS_SELECTOR, "tbody tr.fired")) == fired > 0
    drawn = "return [...document.querySelectorAll('.chart canvas')].length"
    assert browser.execute_script(drawn) == 3, "the readings around it are drawn"
    assert console_errors(browser) == []


def test_feedback_is_stored_and_shown_again(plant: Plant, browser: Chrome) -> None:
    """Breaks when what people say is lost, or shown as said though it is not."""
    plant.run.add_fault(2, "noise", "spike", 20.0, 3)
    browser.get(plant.url)
    find = (
        "return [...document.querySelectorAll('#episodes a')].find((a) => a.textContent.includes('station-0002'))?.href"
    )
    until(lambda: browser.execute_script(find), SECONDS, "the episode is listed")
    browser.get(browser.execute_script(find))
    row = stored_row(plant, browser)
    assert row.station_id == "station-0002"
    css(browser, "#comment").send_keys("cleaning of the hall")
    css(browser, 'button[value="expected"]').click()
    until(lambda: css(browser, "#feedback-said").text.startswith("Stored"), SECONDS, "it says that it is stored")
    held = feedback_of(plant.store, [row[:3]])[row[:3]]
    assert (held.verdict, held.comment) == ("expected", "cleaning of the hall")
    browser.refresh()
    assert css(browser, 'button[value="expected"]').get_attribute("aria-pressed") == "true"
    assert css(browser, "#comment").get_attribute("value") == "cleaning of the hall"


def test_a_verdict_is_judged_again_or_the_page_says_why_not(plant: Plant, browser: Chrome) -> None:
    """Breaks when a replay differs from what the stream said, or one that cannot be made looks like one that was."""
    row = max(plant.run.anomalies(["station-0007"]), key=lambda row: row.severity)
    whole = anomaly(plant.store, *row[:3])
    assert whole is not None
    # A copy under another station, of a version that is no longer kept; no partition of the stream's feed has it.
    forgotten = whole._replace(station_id="station-forgotten", model_version=99, kafka_partition=99)
    write_anomalies(plant.store, [forgotten])
    for shown, said in ((whole, f"version {row.model_version}: the same verdict"), (forgotten, "not kept")):
        browser.get(plant.url + anomaly_url(*shown[:3]))
        css(browser, "#replay").click()
        until(lambda said=said: said in css(browser, "#replay-said").text, SECONDS, f"the replay is told: {said}")


def test_filters_live_in_the_address_and_keys_move(plant: Plant, browser: Chrome) -> None:
    """Breaks when a view cannot be shared, or the page needs a mouse."""
    browser.get(plant.url)
    until(lambda: condition(browser, 0)(), SECONDS, "the tiles are there")
    css(browser, "body").send_keys("/")
    assert browser.switch_to.active_element.get_attribute("id") == "q"
    browser.switch_to.active_element.send_keys("0003")
    assert browser.execute_script(SHOWN) == ["station-0003"]
    assert "q=0003" in browser.current_url
    browser.get(browser.current_url)
    assert browser.execute_script(SHOWN) == ["station-0003"], "the address alone brings it back"
    css(browser, "#q").send_keys("zzz")
    assert "No station matches" in css(browser, "#none").text
    css(browser, "#q").send_keys(Keys.ESCAPE)
    browser.execute_script(FROZEN)  # A tile that changes its place meanwhile would be another neighbour.
    assert len(browser.execute_script(SHOWN)) == STATIONS
    first, second = browser.execute_script(SHOWN)[:2]
    browser.execute_script("document.querySelector('.tile a').focus()")
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert second in browser.switch_to.active_element.text
    browser.switch_to.active_element.send_keys(Keys.ARROW_LEFT)
    assert first in browser.switch_to.active_element.text


def test_a_range_lives_in_the_address(plant: Plant, browser: Chrome) -> None:
    """Breaks when a zoomed view cannot be shared, or leaves the allowed ranges."""
    browser.get(plant.url + "/stations/station-0001?range=15m")
    ready(browser)
    assert css(browser, 'button[data-range="15m"]').get_attribute("aria-pressed") == "true"
    css(browser, "#closer").click()
    until(lambda: "start=" in browser.current_url, SECONDS, "the address holds the moments")
    ready(browser)
    address = browser.current_url
    shown = css(browser, "#shown").text
    browser.get(address)
    ready(browser)
    assert css(browser, "#shown").text == shown
    css(browser, "#live").click()
    until(lambda: "live" in css(browser, "#shown").text, SECONDS, "it is live again")
    css(browser, 'button[data-range="30d"]').click()
    until(lambda: "range=30d" in browser.current_url, SECONDS, "the address holds the range")
    ready(browser)
    summary = css(browser, ".summary").get_attribute("textContent")
    assert summary.startswith("From "), "a screen reader hears the chart"
    assert console_errors(browser) == []


def test_the_charts_go_on_by_themselves(plant: Plant, browser: Chrome) -> None:
    """Breaks when an open station page shows the past as if it were the present."""
    browser.get(plant.url + "/stations/station-0001?range=5m")
    ready(browser)
    canvas = "return document.querySelector('[data-sensor=temperature] canvas').toDataURL()"
    before = browser.execute_script(canvas)
    until(lambda: browser.execute_script(canvas) != before, SECONDS, "the chart moved")
    assert "live" in css(browser, "#shown").text


def test_blind_is_never_quiet(plant: Plant, browser: Chrome) -> None:
    """Breaks when a dead stream, or a dead API, leaves green tiles and no word."""
    with api_of(
        plant.settings.model_copy(update={"readings_topic": "dead", "home": plant.settings.home / "dead"})
    ) as url:
        heartbeat(plant.store, "dead", now_ms())
        browser.get(url)
        until(lambda: text(browser, "#pill-text") == "Watching" and condition(browser, 0)(), SECONDS, "it watches")
        heartbeat(plant.store, "dead", now_ms() - 120_000)
        until(lambda: text(browser, "#state"), SECONDS, "the page says that nobody watches")
        assert "Not watching since" in css(browser, "#state").text
        assert {one.get_attribute("data-condition") for one in browser.find_elements(By.CSS_SELECTOR, ".tile")} == {
            "unknown"
        }
        assert "not watching" in browser.title
        assert css(browser, "#open-count").text == "open episodes unknown"
        heartbeat(plant.store, "dead", now_ms())
        until(lambda: text(browser, "#pill-text") == "Watching", SECONDS, "it finds back")
    until(lambda: css(browser, "#connection").is_displayed(), SECONDS, "the page says that the API is gone")
    assert "What follows is old" in css(browser, "#connection").text
    assert css(browser, "#pill-text").text == "No connection"


def test_wall_mode_has_nothing_to_press(plant: Plant, browser: Chrome) -> None:
    """Breaks when a wall screen shows controls, or scrolls sideways."""
    browser.get(plant.url + "/?wall=1")
    until(lambda: condition(browser, 0)(), SECONDS, "the tiles are there")
    assert browser.find_elements(By.CSS_SELECTOR, "button, input, select") == []
    assert len(browser.find_elements(By.CSS_SELECTOR, ".tile")) == STATIONS
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")


def test_an_episode_is_told_in_the_words_that_are_stored(plant: Plant, browser: Chrome) -> None:
    """Breaks when the list of episodes tells another reason than the verdict of the reading it leads to."""
    browser.get(f"{plant.url}/stations/station-{IMPLAUSIBLE:04d}?range=15m")
    until(lambda: browser.find_elements(By.CSS_SELECTOR, "#episodes a"), SECONDS, "the episode is listed")
    browser.execute_script(FROZEN)
    told, link = texts(browser, "#episodes li")[0], css(browser, '#episodes a[href^="/anomalies/"]')
    browser.get(link.get_attribute("href"))
    assert json.loads(stored_row(plant, browser).verdict)["explanation"] in told


@pytest.mark.parametrize("path", ["/stations/nobody", "/stations/%3Cscript%3E", "/anomalies/AAAA"])
def test_what_is_not_there_is_said_in_words(plant: Plant, browser: Chrome, path: str) -> None:
    """Breaks when a stale link ends in JSON, or in a way back that does not lead anywhere."""
    browser.get(plant.url + path)
    assert "No" in css(browser, "h1").text
    assert css(browser, "main a.button").get_attribute("href") == plant.url + "/"
