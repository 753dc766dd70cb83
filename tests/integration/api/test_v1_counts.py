"""Counts equal brute force, whether they come from kept hours or from the anomalies themselves."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from api.http.times import rfc3339
from core.settings import Settings
from core.verdict import severity_class
from storage.driver.session import Store
from storage.tables import recounting
from storage.tables.anomalies import AnomalyRow, write_anomalies
from storage.tables.recounting import Recounter, counts_hold_since
from storage.tables.stream_progress import mark_complete
from tests.integration.api_plant import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    NOW_MS,
    SENSORS,
    anomaly_row,
    answered,
)

pytestmark = pytest.mark.timeout(300)
KEYS: dict[str, Callable[[AnomalyRow], str]] = {
    "station": lambda row: row.station_id,
    "severity": lambda row: severity_class(row.severity),
    "sensor": lambda row: leading(row),
}


@pytest.fixture(scope="module")
def stored(store: Store, plant: Settings) -> list[AnomalyRow]:
    """8,000 anomalies over 31 days in the order of the feed of two Kafka partitions."""
    rng = random.Random(7)  # noqa: S311
    rows = [spread(rng, NOW_MS - rng.randrange(31 * DAY_MS), number) for number in range(8000)]
    edges = (NOW_MS + 300_000, NOW_MS - DAY_MS, NOW_MS - DAY_MS - 1, NOW_MS - NOW_MS % HOUR_MS)
    rows += [spread(rng, at, 8000 + number) for number, at in enumerate(edges)]
    write_anomalies(store, rows)
    mark_complete(store, plant.readings_topic, {0: 4002, 1: 4002}, 1)
    return rows


def spread(rng: random.Random, event_ms: int, number: int) -> AnomalyRow:
    return anomaly_row(
        f"station-{rng.randrange(60):04d}", event_ms, number, rng.uniform(0, 100), leading=rng.choice(SENSORS),
        kafka_partition=number % 2, kafka_offset=number // 2, record_ms=event_ms + rng.randrange(DAY_MS),
    )  # fmt: skip


def leading(row: AnomalyRow) -> str:
    shares = json.loads(row.verdict)["sensors"]
    return str(max(shares, key=lambda share: share["contribution"])["name"])


def recounter(store: Store, plant: Settings, clock_ms: list[int]) -> Recounter:
    return Recounter(store, plant.readings_topic, lambda: 1000 * clock_ms[0], 40)


def counted_out(follower: Recounter) -> None:
    for _ in range(500):
        if not follower.step():
            return
    raise AssertionError("the recounter never comes to an end")


def agree(api: FlaskClient, rows: list[AnomalyRow], start: int, end: int, step_ms: int | None, group: str) -> None:
    """The answer, cell by cell, is what counting by hand gives."""
    step = f"&step={step_ms // MINUTE_MS}m" if step_ms else ""
    path = f"/api/v1/counts?start={rfc3339(start)}&end={rfc3339(end)}{step}&group_by={group}"
    answer = answered(api, path).get_json()
    assert "groups" in answer, answer
    inside = [row for row in rows if start <= row.event_ms < end]
    first = start - start % step_ms if step_ms else start
    expected = Counter((KEYS[group](row), (row.event_ms - first) // (step_ms or 10**15)) for row in inside)
    cells = {
        (one["key"], at): count for one in answer["groups"] for at, count in enumerate(one["counts"]) if count
    }  # fmt: skip
    assert cells == dict(expected)
    assert answer["total"] == len(inside) == sum(answer["counts"])
    assert [one["total"] for one in answer["groups"]] == [sum(one["counts"]) for one in answer["groups"]]
    if step_ms:
        assert answer["times"] == [rfc3339(at) for at in range(first, end, step_ms)]


CASES = [
    (NOW_MS - 24 * HOUR_MS, NOW_MS, 5 * MINUTE_MS, "severity"),
    (NOW_MS - 24 * HOUR_MS, NOW_MS + 1, HOUR_MS, "station"),
    (NOW_MS - 30 * DAY_MS + 12_345, NOW_MS - 77_777, 7 * MINUTE_MS * 60, "sensor"),
    (NOW_MS - 30 * DAY_MS, NOW_MS + 300_001, DAY_MS, "station"),
    (NOW_MS - 30 * DAY_MS, NOW_MS, None, "severity"),
    (NOW_MS - 3 * HOUR_MS, NOW_MS - 3 * HOUR_MS + 1, MINUTE_MS, "sensor"),
]


def test_counts_equal_brute_force_before_and_after_they_are_kept(
    api: FlaskClient, store: Store, plant: Settings, stored: list[AnomalyRow]
) -> None:
    """Breaks when an edge, a step or a group counts wrongly, from kept hours, from anomalies, or from both."""
    for case in CASES:
        agree(api, stored, *case)
    assert counts_hold_since(store, plant.readings_topic) is None

    clock_ms = [NOW_MS]
    counted_out(recounter(store, plant, clock_ms))
    assert counts_hold_since(store, plant.readings_topic) == NOW_MS
    for case in CASES:
        agree(api, stored, *case)
    store.run("TRUNCATE anomalies_by_time")
    month = answered(api, "/api/v1/counts?time_range=30d").get_json()["total"]
    write_anomalies(store, stored)
    whole = answered(api, "/api/v1/counts?time_range=30d").get_json()["total"]
    assert 0.95 * whole < month < whole, "past hours come from what was counted before, the present does not"


def test_late_arrivals_are_counted_and_a_new_reader_goes_on_where_the_last_stopped(
    api: FlaskClient, store: Store, plant: Settings, stored: list[AnomalyRow]
) -> None:
    """Breaks when an anomaly that comes late into a past hour stays uncounted, or a restart forgets one."""
    clock_ms = [NOW_MS]
    follower = recounter(store, plant, clock_ms)
    counted_out(follower)
    rng = random.Random(8)  # noqa: S311
    for turn in range(3):
        late = [spread(rng, NOW_MS - rng.randrange(20 * DAY_MS), 8004 + 200 * turn + at) for at in range(200)]
        write_anomalies(store, late)
        stored += late
        mark_complete(store, plant.readings_topic, dict.fromkeys((0, 1), 4002 + 100 * (turn + 1)), 1)
        clock_ms[0] += recounting.PAST_PAUSE_MS
        # The second time by another reader, as after a crash: what it knows is what is stored.
        follower = recounter(store, plant, clock_ms) if turn == 1 else follower
        counted_out(follower)
        for case in CASES[2:5]:
            agree(api, stored, *case)


def test_an_earlier_look_never_replaces_a_later_one(store: Store, plant: Settings) -> None:
    """Breaks when two API processes that count the same hour can leave the older count behind."""
    from storage.tables.anomalies import time_slot
    from storage.tables.anomaly_counts import count_partitions, counted

    hour = NOW_MS - NOW_MS % HOUR_MS - 40 * DAY_MS
    row = anomaly_row("station-x", hour + 5, 1)
    write_anomalies(store, [row])
    partition = (hour, time_slot("station-x"))
    count_partitions(store, [partition], lambda: 2_000_000)
    write_anomalies(store, [row._replace(seq=2)])
    count_partitions(store, [partition], lambda: 1_000_000)
    found = counted(store, hour, hour + HOUR_MS, None, "station", NOW_MS)
    assert found.counts[found.keys.index("station-x")].tolist() == [1]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("step=90s", "/query/step"),
        ("step=1m&time_range=30d", "/query/step"),
        ("group_by=witness", "/query/group_by"),
        ("time_range=1.5h", "/query/time_range"),
    ],
)
def test_bad_parameters_are_named(api: FlaskClient, query: str, pointer: str) -> None:
    """Breaks when a step or group that means nothing is taken for another one."""
    answer = api.get(f"/api/v1/counts?{query}")
    assert answer.status_code == 422
    assert {error["pointer"] for error in answer.get_json()["errors"]} == {pointer}
