"""The way in and out, as a browser walks it: its own headers decide whether a form of this site is taken."""

from __future__ import annotations

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from api.security.tokens import Role, hashed
from tests.browser.conftest import Plant
from tests.browser.serving import api_of, console_errors, until

pytestmark = pytest.mark.timeout(300)


def test_a_person_logs_in_and_out(plant: Plant, browser: Chrome) -> None:
    """Breaks when the form is refused as a foreign one, what was asked for is not shown, or nobody gets out."""
    home = plant.settings.home / "guarded"
    home.mkdir(parents=True)
    tokens = home / "tokens"
    tokens.write_text(f"{Role.OPERATOR.name.lower()}:{hashed('mine')}\n")
    guarded = plant.settings.model_copy(update={"home": home, "api_tokens_file": tokens})
    with api_of(guarded) as url:

        def entered() -> bool:
            browser.get(f"{url}/stations/station-0001")
            if browser.find_elements(By.ID, "token"):
                browser.find_element(By.ID, "token").send_keys("mine")
                browser.find_element(By.CSS_SELECTOR, "button").click()
            # While the API has not reached Cassandra yet, there is no secret to sign a session with.
            return not browser.current_url.startswith(f"{url}/login")

        until(entered, 60, "logged in")
        assert browser.current_url.startswith(f"{url}/stations/station-0001")
        browser.get(url)
        until(lambda: browser.find_elements(By.CSS_SELECTOR, ".tile"), 60, "the plant is shown")
        browser.get_log("browser")
        browser.find_element(By.CSS_SELECTOR, ".leave button").click()
        until(lambda: browser.current_url == f"{url}/login", 30, "logged out")
        refused = [said for said in console_errors(browser) if "Content Security Policy" in said]
        assert not refused, "the page's policy allows its own form"
        browser.get(url)
        until(lambda: browser.current_url.startswith(f"{url}/login?next="), 30, "asked to log in again")
