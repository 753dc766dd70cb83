"""One keeper of alarms on the real Cassandra, with a clock of the test's own: closing, silence, groups."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from alarms.alarm_service import BEHIND_MS, LOOK_MS, SCOPE_MS, WATCHED_MS, Keeper
from alarms.folding import Policy
from alarms.group_scope import Scopes
from alarms.metrics import AlarmMetrics
from alarms.notifier import Telling
from core.settings import Settings
from core.station_groups import StationGroups
from storage.driver.session import Store, StoreConfig, connect
from storage.tables.alarms import SILENT, AlarmRow, alarms_page, open_keys
from storage.tables.minutes import MinuteRow, SensorMinute, write_minutes
from storage.tables.stations import StationRow, write_stations
from storage.tables.stream_progress import heartbeat, mark_complete, mark_started
from tests.integration.alarms.alarm_parts import Feeder
from tests.integration.api_plant import NOW_MS
from tests.keyspaces import Keyspaces

pytestmark = pytest.mark.timeout(300)
MINUTE_MS = 60_000
SECOND_MS = 1000


class Plant:
    """A keyspace, a clock, and a keeper that can be begun again."""

    def __init__(self, settings: Settings, store: Store, groups: dict[str, Any] | None = None) -> None:
        self.settings, self.store, self.groups = settings, store, StationGroups(groups or {})
        self.now_ms = NOW_MS
        self.metrics = AlarmMetrics()
        self.begin()

    def begin(self) -> None:
        telling = Telling(self.store, None, self.metrics, lambda row: f"http://page/stations/{row.station_id}")
        self.keeper = Keeper(
            self.store, self.settings.readings_topic, Policy(3, 5, 20_000), Scopes(self.groups), telling,
            self.metrics, lambda: self.now_ms, 30.0, 10**9,
        )  # fmt: skip

    def pass_by(self, seconds: int, sign: bool = True) -> None:
        """Let time pass, with a turn of the keeper and a sign of the stream every few seconds."""
        for _ in range(0, seconds, LOOK_MS // SECOND_MS):
            self.now_ms += LOOK_MS
            if sign:
                heartbeat(self.store, self.settings.readings_topic, self.now_ms)
            while self.keeper.turn():
                pass

    def hear(self, station: str, ago_ms: int = 0, readings: int = 100) -> None:
        at = self.now_ms - ago_ms
        write_stations(self.store, [StationRow(station, at, at, readings, 1.0, {}, {})])

    def alarms(self, kind: str = "anomaly") -> list[AlarmRow]:
        rows, _ = alarms_page(self.store, NOW_MS - 10**8, self.now_ms + 10**8, 1000)
        return [row for row in rows if row.kind == kind]

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


@pytest.fixture
def made(keyspaces: Keyspaces, tmp_path: Path) -> Iterator[tuple[Settings, Store]]:
    with keyspaces.lent(home=tmp_path) as settings, closing(connect(StoreConfig.from_settings(settings))) as store:
        yield settings, store


def test_an_alarm_is_told_closed_and_forgotten(made: tuple[Settings, Store]) -> None:
    """Breaks when an alarm that is over stays among the open ones, or closes by a clock instead of by readings."""
    plant = Plant(*made)
    feeder = Feeder(plant.store, plant.settings.readings_topic, "a")
    feeder.send([True] * 4, end_ms=plant.now_ms)
    plant.pass_by(120)
    (row,) = plant.alarms()
    assert (row.readings, row.notified_ms, row.closed_ms) == (4, NOW_MS - 1000, None), "no reading since: still on"
    assert plant.metric("iot_alarms_open", severity_class="critical") == 1
    assert plant.metric("iot_alarms_notified_total", severity_class="critical") == 1
    feeder.send([False] * 30, end_ms=plant.now_ms)
    plant.pass_by(30)
    (row,) = plant.alarms()
    assert row.closed_ms == row.last_record_ms + 20_000
    assert open_keys(plant.store) == []
    assert plant.metric("iot_alarms_open", severity_class="critical") == 0
    feeder.send([True], end_ms=plant.now_ms)
    plant.begin()
    plant.pass_by(5)
    assert [(row.readings, row.notified_ms is None) for row in plant.alarms()] == [(1, True), (4, False)]


def test_a_row_of_a_station_that_is_ahead_of_the_feed_closes_nothing(made: tuple[Settings, Store]) -> None:
    """Breaks when a batch half written, whose anomalies are not yet to be read, ends the alarm they belong to."""
    plant = Plant(*made)
    feeder = Feeder(plant.store, plant.settings.readings_topic, "a")
    feeder.send([True] * 4, end_ms=plant.now_ms)
    plant.pass_by(30)
    mark_started(plant.store, feeder.topic, {0: 200})
    plant.hear("a", readings=200)
    plant.pass_by(60)
    assert plant.alarms()[0].closed_ms is None
    mark_complete(plant.store, feeder.topic, {0: 200}, 7)
    plant.pass_by(10)
    assert plant.alarms()[0].closed_ms is not None


def test_a_silent_station_raises_an_alarm_and_a_blind_stream_none(made: tuple[Settings, Store]) -> None:
    """Breaks when a stream that was away makes every station seem silent, or a silent one is never told."""
    plant = Plant(*made)
    for station in ("a", "b"):
        plant.hear(station)
    plant.pass_by(WATCHED_MS // SECOND_MS)
    assert plant.alarms(SILENT) == [], "it has only begun to watch"
    plant.hear("a")
    plant.pass_by(15)
    (row,) = plant.alarms(SILENT)
    assert (row.station_id, row.notified_ms) == ("b", row.begun_ms + 60_000)
    assert plant.metric("iot_stations_silent") == 1
    plant.pass_by(60, sign=False)
    assert len(plant.alarms(SILENT)) == 1, "nobody watches, nobody is silent"
    plant.pass_by(10)
    assert len(plant.alarms(SILENT)) == 1, "it works off what waited"
    plant.hear("a")
    plant.hear("b")
    plant.begin()
    plant.pass_by(WATCHED_MS // SECOND_MS + 5)
    closed = {row.station_id: row.closed_ms for row in plant.alarms(SILENT)}
    assert closed["b"] is not None
    assert BEHIND_MS > LOOK_MS


def test_it_is_said_whether_the_whole_group_is_concerned(made: tuple[Settings, Store]) -> None:
    """Breaks when a warm day in the hall looks like one broken station, or a broken station like the weather."""
    groups = {"hall-a": "a-*", "hall-b": ("b-1", "b-2", "b-3")}
    plant = Plant(*made, groups=groups)
    minutes = [(NOW_MS // MINUTE_MS + at) * MINUTE_MS for at in range(-1, 3)]
    away_from_typical = {"a-1": 2.0, "a-2": 1.5, "a-3": 1.2, "a-4": 1.4, "b-1": 2.0, "b-2": 0.1, "b-3": -0.2, "c": 2.0}
    for partition, station in enumerate(("a-1", "b-1", "c")):
        feeder = Feeder(plant.store, plant.settings.readings_topic, station, partition)
        feeder.send([True] * 5, end_ms=plant.now_ms)
        feeder.send([False] * 30, end_ms=plant.now_ms + 30_000)
    for station in ("a-2", "a-3", "a-4", "b-2", "b-3"):
        plant.hear(station)
    plant.pass_by(60)
    assert {row.scope for row in plant.alarms()} == {"unknown"}
    assert all(row.closed_ms is not None for row in plant.alarms()), "over before their minutes have closed"
    for station, away in away_from_typical.items():
        noise = SensorMinute(40.0, 40.0 + 10 * away, 90.0, 60, 30.0, 40.0, 50.0)
        write_minutes(plant.store, [MinuteRow(station, at, {"noise": noise}, 60) for at in minutes])
    plant.pass_by(SCOPE_MS // SECOND_MS + 20)
    found = {row.station_id: (row.group, row.scope) for row in plant.alarms()}
    assert found == {"a-1": ("hall-a", "whole_hall"), "b-1": ("hall-b", "one_station"), "c": ("", "unknown")}
