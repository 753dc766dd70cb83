"""What one caller may take, on the real Cassandra: requests a minute, places, time, bytes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from apiflask import APIFlask

from api.http import limits
from api.security.tokens import hashed
from core.settings import Settings
from tests.integration.api_plant import application
from tests.keyspaces import Keyspaces
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.timeout(300)

PROBLEM = "application/problem+json"
PATH = "/api/v1/counts?time_range=1h"


@pytest.fixture(scope="module")
def settings(keyspaces: Keyspaces, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Ten requests a minute, two tokens."""
    home = tmp_path_factory.mktemp("home")
    (home / "tokens").write_text(f"viewer:{hashed('one')}\nviewer:{hashed('other')}\n")
    with keyspaces.lent(home=home, api_tokens_file=home / "tokens", api_requests_per_minute=10) as lent:
        yield lent


@pytest.fixture
def app(settings: Settings) -> Iterator[APIFlask]:
    """An application of the test's own, so that nobody has asked yet."""
    with application(settings) as made:
        client = made.test_client()
        ready = "/readyz?verbose"
        wait_until(
            lambda: '"ok":true' in client.get(ready, headers=bearer("one")).get_data(as_text=True), "it is ready"
        )
        yield made


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_each_token_has_its_own_share_of_a_minute(app: APIFlask) -> None:
    """Breaks when the rate is not held, one caller takes another's share, or health counts as well."""
    client = app.test_client()
    answers = [client.get(PATH, headers=bearer("one")) for _ in range(12)]
    refused = answers[-1]
    assert {answer.status_code for answer in answers} == {200, 429}
    assert (refused.status_code, refused.content_type) == (429, PROBLEM)
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert "10 requests a minute" in refused.get_json()["detail"]
    assert client.get(PATH, headers=bearer("other")).status_code == 200
    assert all(client.get("/livez").status_code == 200 for _ in range(30))


def test_guessing_tokens_is_slowed_down(app: APIFlask) -> None:
    """Breaks when somebody may try tokens without end, or who guesses locks out those with a good one."""
    client = app.test_client()
    answers = [client.get(PATH, headers=bearer(f"guess-{at}")) for at in range(limits.BAD_TOKENS_A_MINUTE + 5)]
    assert answers[0].status_code == 401
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert client.get(PATH, headers=bearer("other")).status_code == 200


def test_a_request_that_takes_too_long_asks_nothing_more(app: APIFlask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when a request may send statements to Cassandra for ever."""
    monkeypatch.setattr(limits, "REQUEST_SECONDS", -1.0)
    answer = app.test_client().get(PATH, headers=bearer("one"))
    assert (answer.status_code, answer.content_type) == (503, PROBLEM)
    assert answer.get_json()["type"].endswith("query-timeout")
    assert int(answer.headers["Retry-After"]) > 0
    monkeypatch.undo()
    assert app.test_client().get(PATH, headers=bearer("one")).status_code == 200, "the time is each request's own"


def test_more_requests_than_places_are_told_to_come_back(settings: Settings) -> None:
    """Breaks when any number of requests may work at once, /livez waits with them, or a place is not given back."""
    unlimited = settings.model_copy(update={"api_requests_per_minute": 0})
    with application(unlimited) as app:
        entered, leave = threading.Semaphore(0), threading.Event()

        @app.get("/slow")
        def slow() -> dict[str, str]:
            entered.release()
            assert leave.wait(PATIENCE_SECONDS)
            return {}

        def ask() -> int:
            return app.test_client().get("/slow", headers=bearer("one")).status_code

        for _ in range(2):
            leave.clear()
            with ThreadPoolExecutor(limits.WORKING) as others:
                working = [others.submit(ask) for _ in range(limits.WORKING)]
                try:
                    assert all(entered.acquire(timeout=PATIENCE_SECONDS) for _ in working)
                    busy = app.test_client().get(PATH, headers=bearer("one"))
                    alive = app.test_client().get("/livez")
                    assert not any(one.done() for one in working), "it was refused while every place was taken"
                finally:
                    leave.set()
                assert {one.result() for one in working} == {200}
            assert (busy.status_code, busy.get_json()["type"].rpartition(":")[2]) == (503, "busy")
            assert int(busy.headers["Retry-After"]) > 0
            assert alive.status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" * 40 + b"]" * 40, 400),
        (b'{"temperature": 1' + b"0" * (1 << 20) + b"}", 413),
        (b'{"temperature": NaN}', 400),
        (b"not json", 400),
    ],
)
def test_bodies_beyond_the_limits_are_refused(app: APIFlask, body: bytes, status: int) -> None:
    """Breaks when a deep or a huge body is read as if it were any other."""
    headers = {**bearer("one"), "Content-Type": "application/json"}
    answer = app.test_client().post("/api/v1/predict", data=body, headers=headers)
    assert (answer.status_code, answer.content_type) == (status, PROBLEM)
