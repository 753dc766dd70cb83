"""`python -m alarms` on the real Cassandra, with a real Alertmanager and a webhook receiver behind it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from core.alarm import Done
from core.settings import Settings
from storage.driver.session import Store, StoreConfig, connect
from storage.tables.alarm_actions import ActionRow, add_action
from storage.tables.alarms import AlarmRow, alarms_page
from tests.integration.alarms.alarm_parts import (
    GROUP_INTERVAL_SECONDS,
    Feeder,
    RealAlertmanager,
    Webhook,
    alarms_of,
    notified,
    now_ms,
)
from tests.keyspaces import Keyspaces
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def plant(keyspaces: Keyspaces, tmp_path: Path) -> Iterator[tuple[Settings, Store]]:
    """A keyspace of a test's own."""
    with (
        keyspaces.lent(home=tmp_path, alarms_metrics_port=0, alarm_quiet_seconds=20.0) as settings,
        closing(connect(StoreConfig.from_settings(settings))) as store,
    ):
        yield settings, store


@pytest.fixture
def people(tmp_path: Path) -> Iterator[tuple[RealAlertmanager, Webhook]]:
    """An Alertmanager and its receiver."""
    folder = tmp_path / "alertmanager"
    folder.mkdir()
    with notified(folder) as found:
        yield found


def alarms(store: Store) -> list[AlarmRow]:
    return alarms_page(store, now_ms() - 86_400_000, now_ms() + 600_000, 100)[0]


def test_600_bad_readings_are_one_alarm_and_one_notification(
    plant: tuple[Settings, Store], people: tuple[RealAlertmanager, Webhook]
) -> None:
    """Breaks when an episode is told more than once, late, or again after kill -9 of the process that tells it."""
    settings, store = plant
    alertmanager, webhook = people
    settings = settings.model_copy(update={"alertmanager_url": alertmanager.url})
    feeder = Feeder(store, settings.readings_topic, "station-0007")
    feeder.send([False] * 30)
    with alarms_of(settings) as process:
        begun = time.time()
        feeder.send([True] * 10)
        wait_until(lambda: webhook.of("station-0007"), "the webhook heard of it")
        print(f"stored anomaly to webhook: {webhook.of('station-0007')[0][0] - begun:.1f} s")
        process.kill()
        for _ in range(5):
            feeder.send([True] * 59)
        with alarms_of(settings) as again:
            for _ in range(5):
                feeder.send([True] * 59)
            wait_until(lambda: [row.readings for row in alarms(store)] == [600], "one alarm of 600 readings")
            # It would tell of anything else by then, counted from the time at which it knows of the last readings.
            time.sleep(6 * GROUP_INTERVAL_SECONDS)
            assert again.alive(), again.tail()
    assert len(webhook.of("station-0007")) == 1
    alert = webhook.of("station-0007")[0][1]
    assert alert["labels"] == {"alertname": "StationAnomaly", "station": "station-0007", "severity": "critical"}
    assert "Noise is 41" in alert["annotations"]["summary"]


def one(store: Store, station: str) -> AlarmRow | None:
    """The station's only alarm."""
    found = [row for row in alarms(store) if row.station_id == station]
    assert len(found) <= 1
    return found[0] if found else None


def test_people_decide_here_and_there_and_an_outage_loses_nothing(
    plant: tuple[Settings, Store], people: tuple[RealAlertmanager, Webhook]
) -> None:
    """Breaks when an alarm that began and ended while Alertmanager was away is never told, or a silence is ignored."""
    settings, store = plant
    alertmanager, webhook = people
    settings = settings.model_copy(update={"alertmanager_url": alertmanager.url, "alarm_quiet_seconds": 5.0})
    short, repaired, shelved = (
        Feeder(store, settings.readings_topic, station, partition)
        for partition, station in enumerate(("short", "repaired", "shelved"))
    )
    silence = alertmanager.silence("repaired")
    with alarms_of(settings) as process:
        alertmanager.down()
        short.send([True] * 5)
        short.send([False] * 30, end_ms=now_ms() + 6000)
        repaired.send([True] * 5)
        wait_until(lambda: (row := one(store, "short")) is not None and row.closed_ms is not None, "it is over")
        assert one(store, "short").posted_ms is None  # type: ignore[union-attr]
        alertmanager.up()
        wait_until(lambda: webhook.of("short"), "told, late")
        wait_until(lambda: (row := one(store, "repaired")) is not None and row.silenced_by == silence, "silenced there")

        shelved.send([True] * 5)
        wait_until(lambda: webhook.of("shelved"), "told")
        row = one(store, "shelved")
        assert row is not None
        shelf = Done("shelve", now_ms(), now_ms() + 3_600_000, "Anna")
        assert add_action(store, row.key, ActionRow(0, shelf, "one"))
        wait_until(lambda: webhook.of("shelved", "resolved"), "withdrawn while it is shelved")
        assert add_action(store, row.key, ActionRow(1, Done("acknowledge", now_ms()), "two"))
        wait_until(lambda: len(webhook.of("shelved")) == 2, "told again once it is off the shelf")
        assert process.alive(), process.tail()
    assert webhook.of("repaired") == []
    assert len(webhook.of("short")) == 1


def test_a_second_process_waits_and_takes_over(plant: tuple[Settings, Store]) -> None:
    """Breaks when two processes fold at once, or a plant goes without alarms until a dead one's lease lapses."""
    settings, store = plant
    feeder = Feeder(store, settings.readings_topic, "station-0001")
    with alarms_of(settings) as first:
        first.wait_until("lease", lambda: "keeping 0 open alarms" in first.tail(), 60)
        with alarms_of(settings) as second:
            feeder.send([True] * 5)
            wait_until(lambda: one(store, "station-0001") is not None, "folded")
            first.kill()
            begun = time.monotonic()
            feeder.send([True] * 5)
            wait_until(lambda: (row := one(store, "station-0001")) is not None and row.readings == 10, "taken over")
            # Far below the 30 s after which a lease lapses: the dead process is of this machine.
            print(f"taken over after {time.monotonic() - begun:.1f} s")
            assert second.stop(20) == 0, second.tail()
