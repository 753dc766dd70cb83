"""`/api/v1/alarms` on the real Cassandra: lists, one, and what people may do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from api.http.limits import check_time
from api.http.opaque_ids import alarm_id, alarm_key_of
from api.http.store_connection import GuardedStore
from api.http.times import rfc3339
from core.settings import Settings
from storage.driver.session import Store
from storage.tables.alarms import SILENT, AlarmKey, AlarmRow, write_alarms
from tests.integration.api_plant import DAY_MS, HOUR_MS, NOW_MS, Given, walked

pytestmark = pytest.mark.timeout(300)
MINUTE_MS = 60_000


class Clock:
    """Stands still until it is moved."""

    now_ms = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def api(plant: Settings, store: Store, clock: Clock) -> FlaskClient:
    return create_app(plant, Given(GuardedStore(store, check_time)), clock).test_client()


def alarm_row(station: str, begun_ms: int, seq: int = 0, **changes: Any) -> AlarmRow:
    """An alarm that is told and on, of ten readings."""
    row = AlarmRow(
        station, begun_ms, seq, "anomaly", 0, 100, 1, 70, (68, 69, 70), 10, begun_ms, begun_ms + 9000, begun_ms + 9000,
        0, 82.5, begun_ms + 1000, 5, 83.0, "noise", "Noise is 41 dB.", "Listen on site.", "hall-a", "one_station",
        begun_ms + 2000,
    )  # fmt: skip
    return row._replace(**changes)


@pytest.fixture(scope="module")
def rows(store: Store) -> list[AlarmRow]:
    """Of 40 days: a hundred in one millisecond, old ones that are over, a few that are on, one not yet told."""
    many = [alarm_row(f"crowd-{at:03d}", NOW_MS - DAY_MS, closed_ms=NOW_MS - HOUR_MS) for at in range(100)]
    old = [alarm_row("old", NOW_MS - at * DAY_MS // 2, at, closed_ms=NOW_MS) for at in range(2, 80)]
    on = [alarm_row(f"on-{at}", NOW_MS - at * MINUTE_MS) for at in range(5)]
    silent = alarm_row("mute", NOW_MS - HOUR_MS, kind=SILENT, readings=0, sensor="", action="", group="")
    untold = alarm_row("young", NOW_MS - 1000, notified_ms=None)
    every = [*many, *old, *on, silent, untold]
    write_alarms(store, every, NOW_MS * 1000)
    return every


def path_of(row: AlarmRow) -> str:
    return f"/api/v1/alarms/{alarm_id(row.key)}"


def ids(rows: list[AlarmRow]) -> list[str]:
    return sorted(alarm_id(row.key) for row in rows)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_walk_meets_what_is_open_once(api: FlaskClient, rows: list[AlarmRow], size: int) -> None:
    """Breaks when a page hides an open alarm, shows one twice, or shows one that is over."""
    path = f"/api/v1/alarms?page_size={size}"
    found = walked(api, path, "alarms") if size > 1 else walked(api, path + "&station_id=on-3", "alarms")
    wanted = [row for row in rows if row.closed_ms is None and row.notified_ms is not None]
    wanted = wanted if size > 1 else [row for row in wanted if row.station_id == "on-3"]
    assert sorted(one["id"] for one in found) == ids(wanted)
    assert [one["begun_time"] for one in found] == sorted((one["begun_time"] for one in found), reverse=True)


@pytest.mark.parametrize("size", [3, 50, 1000])
@pytest.mark.parametrize("station", ["", "&station_id=old"])
def test_history_is_walked_by_day(api: FlaskClient, rows: list[AlarmRow], size: int, station: str) -> None:
    """Breaks when a day, or one of many alarms of the same millisecond, is left out or met twice."""
    found = walked(api, f"/api/v1/alarms?time_range=60d&told=any&page_size={size}{station}", "alarms")
    wanted = [row for row in rows if not station or row.station_id == "old"]
    assert len(found) == len(wanted)
    assert sorted(one["id"] for one in found) == ids(wanted)


def test_filters_say_state_and_told(api: FlaskClient, rows: list[AlarmRow]) -> None:
    """Breaks when a filter is ignored, or an alarm nobody was told of is listed unasked."""
    cleared = walked(api, "/api/v1/alarms?state=cleared&page_size=1000&time_range=60d", "alarms")
    assert len(cleared) == 178
    assert {one["state"] for one in cleared} == {"cleared"}
    assert walked(api, "/api/v1/alarms?station_id=young", "alarms") == []
    assert len(walked(api, "/api/v1/alarms?station_id=young&told=any", "alarms")) == 1
    assert api.get("/api/v1/alarms?state=loud").status_code == 422
    assert api.get("/api/v1/alarms?page_token=abc").status_code == 400


def test_an_alarm_says_what_it_is(api: FlaskClient, rows: list[AlarmRow]) -> None:
    """Breaks when a member goes astray, or an id stands for two alarms."""
    row = next(row for row in rows if row.station_id == "on-2")
    found = api.get(path_of(row)).get_json()
    assert (found["readings"], found["counts"], found["severity_class"]) == (10, 2, "critical")
    assert (found["group"], found["scope"], found["silenced"]) == ("hall-a", "one_station", False)
    assert found["notified_time"] == rfc3339(row.begun_ms + 2000)
    silent = next(row for row in rows if row.kind == SILENT)
    assert alarm_key_of(alarm_id(silent.key)) == silent.key
    shown = api.get(path_of(silent)).get_json()
    assert (shown["kind"], shown["worst_anomaly_id"], shown["action"]) == ("silent", None, None)
    for wrong in ("x", alarm_id(AlarmKey("nobody", 1, 1)), alarm_id(AlarmKey("nobody", 1, 0, SILENT))):
        assert api.get(f"/api/v1/alarms/{wrong}").status_code == 404
        assert api.post(f"/api/v1/alarms/{wrong}:clear", json={}).status_code == 404


def test_what_is_done_is_done_by_post(api: FlaskClient) -> None:
    """Breaks when looking at an action's address seems to be looking at an alarm."""
    answer = api.get(f"/api/v1/alarms/{alarm_id(AlarmKey('x', 1, 1))}:clear")
    assert (answer.status_code, set(answer.headers["Allow"].split(", "))) == (405, {"OPTIONS", "POST"})


def test_people_handle_an_alarm_and_only_legally(api: FlaskClient, store: Store, clock: Clock) -> None:
    """Breaks when a transition is lost or illegal ones are taken, or a shelved alarm stays on its shelf."""
    row = alarm_row("handled", NOW_MS - 7 * MINUTE_MS)
    write_alarms(store, [row], NOW_MS * 1000)
    path = path_of(row)

    def post(action: str, **body: Any) -> tuple[int, dict[str, Any]]:
        answer = api.post(f"{path}:{action}", json=body)
        return answer.status_code, answer.get_json()

    status, found = post("acknowledge", comment="on my way", by="Anna")
    assert (status, found["state"], found["actions"][0]["by"]) == (200, "acknowledged", "Anna")
    status, problem = post("acknowledge")
    assert (status, problem["type"].rpartition(":")[2]) == (409, "illegal-transition")
    assert "acknowledged" in problem["detail"]
    assert post("shelve")[0] == 422
    assert post("shelve", until=rfc3339(clock.now_ms + DAY_MS + 1))[0] == 422
    assert post("shelve", until="tomorrow")[0] == 422
    status, found = post("shelve", until=rfc3339(clock.now_ms + HOUR_MS), comment="spare part is ordered")
    assert (status, found["state"], found["shelved_until"]) == (200, "shelved", rfc3339(clock.now_ms + HOUR_MS))
    assert post("shelve", until=rfc3339(clock.now_ms + HOUR_MS))[0] == 409
    clock.now_ms += HOUR_MS
    assert api.get(path).get_json()["state"] == "active", "it returns by itself"
    assert post("clear", comment=5)[0] == 422
    assert post("clear", forced=True)[0] == 422
    status, found = post("clear")
    assert (status, found["state"], len(found["actions"])) == (200, "cleared", 3)
    assert [one["comment"] for one in found["actions"]] == ["on my way", "spare part is ordered", ""]
    for action in ("acknowledge", "clear"):
        assert post(action)[0] == 409
    write_alarms(store, [row._replace(last_record_ms=clock.now_ms + 2 * MINUTE_MS)], NOW_MS * 1000 + 1)
    assert api.get(path).get_json()["state"] == "active", "the fault went on"


def test_an_alarm_that_is_over_takes_nothing_more(api: FlaskClient, rows: list[AlarmRow]) -> None:
    """Breaks when what closed by itself can be shelved."""
    row = next(row for row in rows if row.station_id == "old")
    assert api.post(f"{path_of(row)}:acknowledge", json={}).status_code == 409


def test_a_request_that_is_sent_again_acts_once(api: FlaskClient, store: Store) -> None:
    """Breaks when a lost answer makes a second action, or a key may be used for another request."""
    row = alarm_row("repeated", NOW_MS - 8 * MINUTE_MS)
    write_alarms(store, [row], NOW_MS * 1000)
    headers = {"Idempotency-Key": "once"}
    first = api.post(f"{path_of(row)}:acknowledge", json={"comment": "yes"}, headers=headers)
    again = api.post(f"{path_of(row)}:acknowledge", json={"comment": "yes"}, headers=headers)
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.get_json()["actions"] == first.get_json()["actions"]
    assert len(again.get_json()["actions"]) == 1
    assert api.post(f"{path_of(row)}:clear", json={}, headers=headers).status_code == 409


def test_of_many_at_once_one_acknowledges(api: FlaskClient, store: Store) -> None:
    """Breaks when two people who press at the same moment both succeed."""
    row = alarm_row("contested", NOW_MS - 9 * MINUTE_MS)
    write_alarms(store, [row], NOW_MS * 1000)
    app = api.application

    def press(number: int) -> int:
        answer = app.test_client().post(f"{path_of(row)}:acknowledge", json={"by": f"person {number}"})
        return int(answer.status_code)

    with ThreadPoolExecutor(6) as people:
        found = sorted(people.map(press, range(6)))
    assert found == [200, *[409] * 5]
    assert len(api.get(path_of(row)).get_json()["actions"]) == 1


def test_a_viewer_looks_and_an_operator_acts(plant: Settings, store: Store) -> None:
    """Breaks when a role matrix forgets the alarms."""
    from api.security.auth import role_needed
    from api.security.tokens import Role

    for name in ("acknowledge", "shelve", "clear"):
        assert role_needed(f"alarms.{name}", "POST") is Role.OPERATOR
    assert role_needed("alarms.listed", "GET") is Role.VIEWER
