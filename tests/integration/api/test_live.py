"""The stream of anomalies on the real Cassandra: nothing missed, nothing twice, nobody waits for the slow."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from api.server.gunicorn_server import GRACEFUL_SECONDS
from api.services.context import wall_clock_ms
from core.settings import Settings
from core.times import HOUR_MS, floored
from local_stack.servers.stack import Stack
from storage.driver.session import StoreConfig, connect
from storage.tables.stream_progress import heartbeat
from tests.integration.api.live_clients import TOPIC, Heard, Listening, Plant, listen_plainly
from tests.integration.running_api import Running, running, start, stop
from tests.keyspaces import Keyspaces
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def keyspace(keyspaces: Keyspaces, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with keyspaces.lent(home=tmp_path_factory.mktemp("home")) as mine:
        yield mine


@pytest.fixture(scope="module")
def plant(keyspace: Settings) -> Iterator[Plant]:
    store = connect(StoreConfig.from_settings(keyspace))
    heartbeat(store, TOPIC, wall_clock_ms())
    yield Plant(store)
    store.close()


@pytest.fixture(scope="module")
def api(stack: Stack, keyspace: Settings, plant: Plant) -> Iterator[Running]:
    with running(stack.endpoints(), keyspace.home, keyspace.cassandra_keyspace) as started:
        yield started


def test_anomalies_come_as_in_the_list_and_only_once_their_batch_is_complete(api: Running, plant: Plant) -> None:
    """Breaks when a half-written batch is shown, an id is no resume point, or the document differs from the list's."""
    listening = Listening(api.port)
    assert listening.answer.getheader("Content-Type") == "text/event-stream; charset=utf-8"
    assert listening.until("status")[0].data["store"] is True
    offsets = plant.begin(0, 3)
    later = plant.arrive(1, 1)
    assert listening.offsets(1) == later
    plant.complete(0)
    told = listening.until("anomaly", times=3)
    assert [one.data["seq"] for one in told] == offsets
    assert told[-1].id == f"0:{offsets[-1] + 1},1:{plant.ends[1]}"
    document = told[0].data
    listed = api.get(f"/api/v1/anomalies/{document['id']}").json()
    assert document == listed
    listening.close()


def test_who_comes_back_misses_nothing_and_gets_nothing_twice(
    stack: Stack, api: Running, plant: Plant, keyspace: Settings, tmp_path: Path
) -> None:
    """Breaks when a resume skips or repeats: from memory, from the store of another process, across an hour's turn."""
    listening = Listening(api.port)
    listening.until("status")
    arrived = plant.arrive(0, 3)
    assert listening.offsets(3) == arrived
    listening.close()
    meanwhile = Listening(api.port)
    meanwhile.until("status")
    last_hour = floored(wall_clock_ms(), HOUR_MS) - 1000
    missed = plant.arrive(0, 700, last_hour) + plant.arrive(1, 2) + plant.arrive(0, 5)
    assert sorted(meanwhile.offsets(len(missed))) == sorted(missed)
    meanwhile.until("status")  # A sign without anomalies moves the resume point as well.
    missed += plant.arrive(0, 2)
    meanwhile.close()

    again = Listening(api.port, last_id=listening.last_id)
    assert sorted(again.offsets(len(missed))) == sorted(missed)
    with running(stack.endpoints(), tmp_path, keyspace.cassandra_keyspace) as other:
        elsewhere = Listening(other.port, last_id=listening.last_id)
        assert sorted(elsewhere.offsets(len(missed))) == sorted(missed)
        more = plant.arrive(1, 2)
        assert again.offsets(2) == elsewhere.offsets(2) == more
        elsewhere.close()
    again.close()


def test_every_single_id_is_a_resume_point(api: Running, plant: Plant) -> None:
    """Breaks when the id of an event in the middle of a batch, or of a status, leads to a gap or a repeat."""
    listening = Listening(api.port)
    listening.until("status")
    arrived = plant.arrive(0, 4) + plant.arrive(1, 3)
    told = listening.until("anomaly", times=7)
    assert sorted(one.data["seq"] for one in told) == sorted(arrived)
    for at, one in enumerate(told):
        again = Listening(api.port, f"?last_event_id={one.id}")
        rest = [later.data["id"] for later in again.until("anomaly", times=6 - at)]
        assert sorted(rest) == sorted(later.data["id"] for later in told[at + 1 :])
        again.close()
    listening.close()


def test_filters_leave_out_the_others(api: Running, plant: Plant) -> None:
    """Breaks when a filter lets others through, or holds back its own."""
    one, severe = Listening(api.port, "?station_id=station-1"), Listening(api.port, "?min_severity=90")
    one.until("status")
    severe.until("status")
    plant.arrive(0, 2)
    mine = plant.arrive(1, 2)
    worst = plant.arrive(0, 1, severity=95.0)
    assert one.offsets(2) == mine
    assert severe.offsets(1) == worst
    one.close()
    severe.close()


@pytest.mark.parametrize(
    ("query", "last_id", "status"),
    [
        ("", "nonsense", 400),
        ("?last_event_id=1", None, 422),
        ("?min_severity=101", None, 422),
        ("?station_id=a+b", None, 422),
        ("?page_size=5", None, 422),
    ],
)
def test_bad_requests_are_refused_with_a_problem(api: Running, query: str, last_id: str | None, status: int) -> None:
    """Breaks when a wrong resume point or filter silently means another one."""
    refused = Listening(api.port, query, last_id)
    assert (refused.answer.status, refused.answer.getheader("Content-Type")) == (status, "application/problem+json")
    refused.close()


def test_what_cannot_be_resumed_is_said(stack: Stack, plant: Plant, keyspace: Settings, tmp_path: Path) -> None:
    """Breaks when a resume after days silently leaves a gap, or reads days of anomalies for one listener."""
    before = f"0:{plant.ends[0]},1:{plant.ends[1]}"
    plant.arrive(0, 2, wall_clock_ms() - 30 * HOUR_MS)
    with running(stack.endpoints(), tmp_path, keyspace.cassandra_keyspace) as api:
        old, foreign = Listening(api.port, last_id=before), Listening(api.port, last_id="0:99999999")
        assert old.until("reset")[0].data["code"] == "too_old"
        assert foreign.until("reset")[0].data["code"] == "unknown"
        arrived = plant.arrive(1, 2)
        assert old.offsets(2) == foreign.offsets(2) == arrived
        old.close()
        foreign.close()


def test_500_listeners_hear_everything_and_a_slow_one_is_dropped_alone(api: Running, plant: Plant) -> None:
    """Breaks when listeners occupy the server, wait for one another, or one that stopped reading holds them up."""
    usual = 5 * api.slowest(["/livez"])
    sockets = [listen_plainly(api.port) for _ in range(500)]
    slow = listen_plainly(api.port, receive_bytes=4096)
    try:
        heard = Heard(sockets)
        heard.until(b"event: status", 1)
        used = _memory(api)
        offsets = plant.arrive(0, 2)
        begun = time.monotonic()
        heard.until(b"event: anomaly", 2)
        took = time.monotonic() - begun
        assert api.get("/livez").seconds < 1.0 + usual, "listeners occupy no thread that answers others"
        assert api.get("/api/v1/anomalies?time_range=1h").status == 200
        # More than the server buffers for one of them, which it notices while the others go on. A hundred of them are
        # enough for that: each has to be sent a megabyte.
        heard.leave(400)
        many = len(plant.arrive(1, 100, verdict=json.dumps({"explanation": "x" * 10_000})))
        heard.until(b"event: anomaly", 2 + many)
        last = plant.arrive(0, 1)[0]
        heard.until(b'"seq":%d,' % last, 1)
        wait_until(lambda: "read nothing" in (api.home / "api.log").read_text(), "the slow listener is dropped")
        print(f"500 listeners: {1000 * took:.0f} ms to all of them, {used / 2**20:.0f} MiB resident")
        assert used < 400 * 2**20, f"{used / 2**20:.0f} MiB"
        assert offsets[0] < last
    finally:
        for one in [*sockets, slow]:
            one.close()
    wait_until(lambda: api.get("/api/v1/anomalies?time_range=1h").status == 200, "the API serves")


def test_sigterm_lets_listeners_go_within_seconds(stack: Stack, keyspace: Settings, tmp_path: Path) -> None:
    """Breaks when the server waits for listeners, who never end by themselves."""
    api = start(stack.endpoints(), tmp_path, keyspace.cassandra_keyspace)
    try:
        wait_until(lambda: api.get("/api/v1/anomalies?time_range=1h").status == 200, "the API serves")
        listeners = [Listening(api.port) for _ in range(20)]
    except BaseException:
        stop(api.process)
        raise
    begun = time.monotonic()
    assert stop(api.process) == 0
    took = time.monotonic() - begun
    assert took < GRACEFUL_SECONDS, "a server that waits for listeners uses up its whole grace"
    for one in listeners:
        assert "anomaly" not in {told.kind for told in one.to_the_end()}
        one.close()


def _memory(api: Running) -> int:
    parent = psutil.Process(api.process.pid)
    return sum(process.memory_info().rss for process in [parent, *parent.children()])
