"""Jobs asked for through the API while Cassandra does not answer in time."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from apiflask import APIFlask
from werkzeug.test import TestResponse

from api.app import create_app, store_handle
from core.settings import Settings
from local_stack.servers.stack import Stack
from tests.contract import CheckedClient, PatientClient
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(300)
REQUESTS = 50


@pytest.fixture
def app(plant: Settings) -> Iterator[APIFlask]:
    """The application with the API's own deadlines, which a paused Cassandra misses."""
    handle = store_handle(plant)
    handle.start()
    try:
        made = create_app(plant.model_copy(update={"api_requests_per_minute": 0}), handle)
        wait_until(lambda: made.test_client().get("/api/v1/jobs").status_code == 200, "the API reaches Cassandra")
        yield made
    finally:
        handle.close()


def post_job(client: CheckedClient, key: str) -> TestResponse:
    return client.post("/api/v1/jobs", json={"kind": "retrain"}, headers={"Idempotency-Key": key})


def test_requests_that_cassandra_did_not_answer_file_one_job_when_they_are_repeated(
    stack: Stack, app: APIFlask
) -> None:
    """Breaks when a refusal does not say when to come back, or a repeated request files a second job or learns of none.

    Some of the first answers are lost although the job was filed: nobody but Cassandra knows, until one asks again.
    """
    keys = [uuid.uuid4().hex for _ in range(REQUESTS)]
    with ThreadPoolExecutor(REQUESTS) as pool:
        asked = [pool.submit(post_job, CheckedClient(app, app.response_class), key) for key in keys]
        stack.pause("cassandra")
        try:
            first = [answer.result() for answer in asked]
        finally:
            stack.resume("cassandra")
        refused = [answer for answer in first if answer.status_code == 503]
        assert refused and all(int(answer.headers["Retry-After"]) > 0 for answer in refused)
        repeated = list(pool.map(lambda key: post_job(PatientClient(app, app.response_class), key), keys))
    assert sorted(answer.status_code for answer in repeated) == [202] + [409] * (REQUESTS - 1)
    (place,) = {answer.headers["Location"] for answer in repeated}
    assert [job["id"] for job in app.test_client().get("/api/v1/jobs").get_json()["jobs"]] == [place.rpartition("/")[2]]
