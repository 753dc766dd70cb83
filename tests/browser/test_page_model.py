"""The model's page: what it shows, and that its buttons file jobs that the retrainer finds."""

from __future__ import annotations

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from storage.tables import jobs
from tests.browser.conftest import Plant
from tests.browser.model_life import do_job
from tests.browser.serving import console_errors, text, texts, until

pytestmark = pytest.mark.timeout(300)


def test_the_page_tells_of_the_model_what_the_api_holds(retrained_plant: Plant, browser: Chrome) -> None:
    """Breaks when versions, gates, drift, the shadow or decisions are missing, or are not those that are stored."""
    plant = retrained_plant
    until(lambda: plant.get("/api/v1/models")["shadow"], 60, "the challenger judges beside the champion")
    browser.get(plant.url)
    browser.find_element(By.LINK_TEXT, "Model").click()
    until(lambda: browser.current_url.endswith("/model"), 30, "the header leads to the model")
    models = plant.get("/api/v1/models")
    assert text(browser, "#now-head") == f"Version {models['judges'][0]} judges"
    aliases = text(browser, "#champion"), text(browser, "#challenger")
    assert aliases == (models["champion"], models["challenger"]) and None not in aliases
    stored = [gate for version in models["versions"] for gate in version["gates"]]
    assert {gate["passed"] for gate in stored} == {True, False}
    for shown, gate in zip(texts(browser, ".gates > li"), stored, strict=True):
        assert f"{'passed' if gate['passed'] else 'refused'} {gate['reason']}" in shown
    (check,) = plant.get("/api/v1/drift")["checks"]
    assert text(browser, "#drift-head + p") == check["sentence"]
    shadow = plant.get("/api/v1/models")["shadow"]
    assert f"version {shadow['challenger']} alone flags" in text(browser, "#shadow")
    for shown, event in zip(texts(browser, ".decisions > li"), models["events"], strict=True):
        assert event["reason"] in shown


def test_a_job_is_asked_for_and_followed(retrained_plant: Plant, browser: Chrome) -> None:
    """Breaks when a button files nothing, the page does not follow the job, or does not come back from it."""
    plant = retrained_plant
    browser.get(plant.url + "/model")
    browser.find_element(By.CSS_SELECTOR, 'button[data-kind="retrain"]').click()
    until(lambda: jobs.active_job(plant.store, plant.settings.model_name) is not None, 30, "the job is filed")
    steps: list[str] = []

    def watch(step: str) -> None:
        until(lambda: text(browser, "#job-step") == step, 30, f"the progress is shown: {step}")
        steps.append(step)

    # Of so short a time nothing can be learnt: the job says so.
    ended = do_job(plant.run, plant.settings.model_copy(update={"retrain_window_hours": 0.0001}), watch)
    assert ended.state == jobs.REFUSED and len(steps) > 1
    until(lambda: text(browser, "#job-step") == ended.reason, 30, "the end is shown")
    until(lambda: text(browser, "#said") == "", 30, "the page is loaded again")
    assert browser.find_element(By.CSS_SELECTOR, 'button[data-kind="retrain"]').is_enabled()
    assert console_errors(browser) == []
