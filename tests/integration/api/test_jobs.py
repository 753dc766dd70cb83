"""Jobs on a real Cassandra: one at a time however many ask, a lease that outlives nobody, an end that is told once."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from storage.driver.session import Store, StoreConfig, connect
from storage.tables import jobs
from storage.tables.jobs import JobRow, LeaseLost, claim, end, file_job, renew, tell
from tests.keyspaces import Keyspaces
from tests.waiting import wait_until

NOW = time.time_ns() // 1_000_000
TTL = 600


@pytest.fixture(scope="module")
def store(keyspaces: Keyspaces) -> Iterator[Store]:
    with keyspaces.lent() as settings:
        opened = connect(StoreConfig.from_settings(settings))
        yield opened
        opened.close()


@pytest.fixture
def model() -> str:
    return f"model-{uuid.uuid4().hex[:8]}"


def claimed(store: Store, model: str, owner: str) -> JobRow:
    found = claim(store, model, owner, TTL, NOW)
    assert found is not None
    return found


def test_fifty_at_once_file_exactly_one_job(store: Store, model: str) -> None:
    """Breaks when two jobs can be under way, or when those who come too late do not learn which one is."""

    def ask(_: int) -> jobs.Filed:
        return file_job(store, model, jobs.RETRAIN, requested_by="test", now_ms=NOW)

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(ask, range(50)))
    (mine,) = [answer.job for answer in answers if answer.mine]
    assert {answer.job.job_id for answer in answers} == {mine.job_id}
    assert [row.job_id for row in jobs.jobs(store, model)] == [mine.job_id]


def test_the_same_request_again_gives_the_same_job_even_when_it_is_over(store: Store, model: str) -> None:
    """Breaks when a POST whose answer was lost files a second job."""
    first = file_job(store, model, jobs.RETRAIN, requested_by="test", now_ms=NOW, request="caller:key")
    again = file_job(store, model, jobs.RETRAIN, requested_by="test", now_ms=NOW + 5, request="caller:key")
    assert again.mine and again.job.job_id == first.job.job_id
    end(store, model, claimed(store, model, "a"), "a", jobs.SUCCEEDED, "done", now_ms=NOW)
    over = file_job(store, model, jobs.RETRAIN, requested_by="test", now_ms=NOW + 9, request="caller:key")
    assert over.mine and over.job.state == jobs.SUCCEEDED and over.job.job_id == first.job.job_id


def test_a_cooldown_counts_from_the_end_of_the_last_job_of_its_kind(store: Store, model: str) -> None:
    """Breaks when retrainings can follow each other at once, or a rollback has to wait for one."""
    file_job(store, model, jobs.RETRAIN, requested_by="test", now_ms=NOW)
    end(store, model, claimed(store, model, "a"), "a", jobs.FAILED, "why", now_ms=NOW)
    soon = file_job(store, model, jobs.RETRAIN, requested_by="test", now_ms=NOW + 400, cooldown_ms=1000)
    assert not soon.mine and soon.wait_ms == 600
    assert file_job(store, model, jobs.ROLLBACK, requested_by="test", now_ms=NOW + 400, cooldown_ms=1000).mine
    end(store, model, claimed(store, model, "a"), "a", jobs.SUCCEEDED, "done", now_ms=NOW + 500)
    assert file_job(store, model, jobs.RETRAIN, requested_by="test", now_ms=NOW + 1000, cooldown_ms=1000).mine


def test_a_job_whose_owner_is_dead_is_claimed_by_another(store: Store, model: str) -> None:
    """Breaks when a living owner loses its job, or a dead one keeps it; or when the dead one may still end it."""
    filed = file_job(store, model, jobs.RETRAIN, requested_by="test", now_ms=NOW).job
    assert claimed(store, model, "a").attempts == 1
    assert claim(store, model, "b", TTL, NOW) is None
    renew(store, model, filed.job_id, "a", 1)
    wait_until(lambda: claim(store, model, "b", TTL, NOW) is not None, "the lease lapses")
    taken = claimed(store, model, "b")
    assert (taken.job_id, taken.owner, taken.attempts) == (filed.job_id, "b", 2)
    for forbidden in (
        lambda: renew(store, model, filed.job_id, "a", TTL),
        lambda: tell(store, model, filed.job_id, "a", "fits", 0.5),
        lambda: end(store, model, filed, "a", jobs.SUCCEEDED, "done", now_ms=NOW),
    ):
        with pytest.raises(LeaseLost):
            forbidden()
    tell(store, model, filed.job_id, "b", "fits", 0.5)
    found = jobs.job(store, model, filed.job_id)
    assert found is not None and (found.state, found.step, found.fraction) == (jobs.RUNNING, "fits", 0.5)


def test_an_ended_job_is_over_for_everybody(store: Store, model: str) -> None:
    """Breaks when a job can be worked on after its end, or its end keeps the next one from being filed."""
    first = file_job(store, model, jobs.PROMOTE, params='{"version":3}', requested_by="test", now_ms=NOW).job
    end(store, model, claimed(store, model, "a"), "a", jobs.REFUSED, "gates", now_ms=NOW + 7, result='{"x":1}')
    end(store, model, first, "a", jobs.REFUSED, "gates", now_ms=NOW + 8)  # the answer was lost, it is said again
    found = jobs.job(store, model, first.job_id)
    assert found is not None and found.over
    assert (found.ended_ms, found.reason, found.result) == (NOW + 7, "gates", '{"x":1}')
    assert jobs.active_job(store, model) is None and claim(store, model, "b", TTL, NOW) is None
    assert file_job(store, model, jobs.RETRAIN, requested_by="test", now_ms=NOW + 9).mine
