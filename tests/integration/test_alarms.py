"""`python -m alarms` on the real Cassandra, with a real Alertmanager and a webhook receiver behind it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from alarm_parts import Feeder, RealAlertmanager, Webhook, alarms_of, notified, now_ms
from api_plant import plant_settings, until

from local_stack.stack import Stack
from settings import Settings
from storage.alarms import AlarmRow, alarms_between
from storage.session import Store, StoreConfig, connect

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def plant(stack: Stack, tmp_path: Path) -> Iterator[tuple[Settings, Store]]:
    """A keyspace of a test's own."""
    settings = plant_settings(stack, tmp_path, alarms_metrics_port=0, alarm_quiet_seconds=20.0)
    store = connect(StoreConfig.from_settings(settings))
    try:
        yield settings, store
    finally:
        store.close()


@pytest.fixture
def people(tmp_path: Path) -> Iterator[tuple[RealAlertmanager, Webhook]]:
    """An Alertmanager and its receiver."""
    folder = tmp_path / "alertmanager"
    folder.mkdir()
    with notified(folder) as found:
        yield found


def alarms(store: Store) -> list[AlarmRow]:
    return list(alarms_between(store, now_ms() - 86_400_000, now_ms() + 600_000, 100))


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
        until(lambda: webhook.of("station-0007"), 60, "the webhook heard of it")
        print(f"stored anomaly to webhook: {webhook.of('station-0007')[0][0] - begun:.1f} s")
        process.kill()
        for _ in range(5):
            feeder.send([True] * 59)
        with alarms_of(settings) as again:
            for _ in range(5):
                feeder.send([True] * 59)
            until(lambda: [row.readings for row in alarms(store)] == [600], 60, "one alarm of 600 readings")
            time.sleep(12)  # Two of Alertmanager's group intervals: it would tell of anything else by then.
            assert again.alive(), again.tail()
    assert len(webhook.of("station-0007")) == 1
    alert = webhook.of("station-0007")[0][1]
    assert alert["labels"] == {"alertname": "StationAnomaly", "station": "station-0007", "severity": "critical"}
    assert "Noise is 41" in alert["annotations"]["summary"]
