"""The model's page: what it shows, and that its buttons file jobs that the retrainer would find."""

from __future__ import annotations

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from storage.tables import jobs
from tests.browser.conftest import Plant, now
from tests.browser.model_rows import write_demo_model
from tests.browser.serving import console_errors, until

pytestmark = pytest.mark.timeout(300)


def text(browser: Chrome, selector: str) -> str:
    return str(browser.execute_script("return document.querySelector(arguments[0])?.textContent ?? ''", selector))


def test_the_model_is_shown_and_a_job_is_asked_for_and_followed(plant: Plant, browser: Chrome) -> None:
    """Breaks when versions, gates or drift are missing, a button files nothing, or the page does not follow the job."""
    name = plant.settings.model_name
    write_demo_model(plant.store, name, plant.settings.readings_topic, now())
    browser.get(plant.url)
    browser.find_element(By.LINK_TEXT, "Model").click()
    until(lambda: browser.current_url.endswith("/model"), 30, "the header leads to the model")
    assert text(browser, "#now-head") == "Version 2 judges"
    assert (text(browser, "#champion"), text(browser, "#challenger")) == ("2", "4")
    assert "drift 0.41 (champion 0.62)" in text(browser, ".gates .refused")
    assert "0.62 standard deviations" in text(browser, "#drift-head + p")
    assert "Of 90 sampled readings" in text(browser, "#shadow") and "alone flags 3 and" in text(browser, "#shadow")
    assert "in place of 1" in text(browser, ".decisions")

    browser.find_element(By.CSS_SELECTOR, 'button[data-kind="retrain"]').click()
    until(lambda: jobs.active_job(plant.store, name) is not None, 30, "the job is filed")
    job = jobs.claim(plant.store, name, "test", 600, now())
    assert job is not None and job.kind == "retrain"
    jobs.tell(plant.store, name, job.job_id, "test", "fits on 5 samples", 0.3)
    until(lambda: text(browser, "#job-step") == "fits on 5 samples", 30, "the progress is shown")
    jobs.end(plant.store, name, job, "test", jobs.REFUSED, "Nothing can be learnt.", now_ms=now())
    until(lambda: text(browser, "#job-step") == "Nothing can be learnt.", 30, "the end is shown")
    until(lambda: text(browser, "#said") == "", 30, "the page is loaded anew")
    assert browser.find_element(By.CSS_SELECTOR, 'button[data-kind="retrain"]').is_enabled()
    assert console_errors(browser) == []
