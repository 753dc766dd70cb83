"""From a fault in Kafka to the receiver: stream, alarms, a real Alertmanager, a webhook."""

from __future__ import annotations

import http.client
import json
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from cassandra.cluster import Session

from core.settings import Settings
from storage.driver.session import StoreConfig, connect
from storage.tables.alarms import alarms_page
from tests.integration.alarms.alarm_parts import Feeder, alarms_of, notified
from tests.keyspaces import Keyspaces
from tests.oracle.bad_records import good_fields
from tests.oracle.job import api_of, clock_ms, make_schema, stream_of, train
from tests.oracle.ledger import Publisher
from tests.oracle.stream_input import Planned, identity_of
from tests.waiting import wait_until

BAD = 600
STATION = "station-0003"

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]


def test_600_bad_readings_in_kafka_are_one_notification(
    proof_settings: Settings, session: Session, history: Path, tmp_path: Path
) -> None:
    """Breaks when any part between a station and a person loses, doubles or delays an alarm beyond a minute."""
    folder = tmp_path / "alertmanager"
    folder.mkdir()
    make_schema(proof_settings)
    train(proof_settings, history, seed=1)
    with (
        notified(folder) as (alertmanager, webhook),
        stream_of(proof_settings, session, "stream") as job,
        Publisher(
            proof_settings.kafka_client_options(), proof_settings.readings_topic, tmp_path / "ledger.jsonl"
        ) as publisher,
    ):
        settings = proof_settings.model_copy(update={"alertmanager_url": alertmanager.url})
        job.start()
        publisher.publish(healthy(clock_ms() - 1_000_000))
        job.wait_until_drained()
        with alarms_of(settings) as process, api_of(settings) as url:
            process.wait_until("lease", lambda: "open alarms" in process.tail(), 60)
            begun = time.time()
            publisher.publish(bad(clock_ms()))
            wait_until(lambda: webhook.of(STATION), "the webhook heard of it")
            print(f"fault in Kafka to webhook: {webhook.of(STATION)[0][0] - begun:.1f} s")
            job.wait_until_drained()
            found: list[dict[str, Any]] = []

            def whole() -> bool:
                found[:] = alarms(url)
                return [one["readings"] for one in found] == [BAD]

            wait_until(whole, "one alarm of all of them")
        assert (found[0]["station_id"], found[0]["state"]) == (STATION, "active")
        assert "implausible" in found[0]["rules"]
        assert len(webhook.of(STATION)) == 1
        assert "90" in webhook.of(STATION)[0][1]["annotations"]["summary"]
        job.stop()


def test_a_receiver_that_is_away_for_two_minutes_hears_of_everything_once(keyspaces: Keyspaces, tmp_path: Path) -> None:
    """Breaks when an alarm is lost or doubled while the receiver is down and the alarms process is killed."""
    folder = tmp_path / "alertmanager"
    folder.mkdir()
    with (
        keyspaces.lent(home=tmp_path, alarms_metrics_port=0) as settings,
        closing(connect(StoreConfig.from_settings(settings))) as store,
        notified(folder) as (alertmanager, webhook),
    ):
        feeder = Feeder(store, settings.readings_topic, STATION)
        settings = settings.model_copy(update={"alertmanager_url": alertmanager.url})
        webhook.down()
        end = time.monotonic() + 120
        with alarms_of(settings) as process:
            feeder.send([True] * 10)
            wait_until(lambda: alertmanager.alerts(), "Alertmanager knows")
            process.kill()
        with alarms_of(settings):
            while time.monotonic() < end:
                feeder.send([True] * 10)
                time.sleep(10)
            webhook.up()
            begun = time.monotonic()
            wait_until(lambda: webhook.of(STATION), "told after the outage")
            print(f"told {time.monotonic() - begun:.1f} s after the receiver came back")
            time.sleep(30)
        rows, _ = alarms_page(store, clock_ms() - 86_400_000, clock_ms() + 600_000, 100)
    assert len(webhook.of(STATION)) == 1
    assert len(rows) == 1


def healthy(end_ms: int) -> list[Planned]:
    """Two minutes of four stations."""
    rng = np.random.default_rng(3)
    found = []
    for tick in range(120):
        for number in range(4):
            values = {"temperature": 22.0, "humidity": 48.0, "noise": 61.0}
            near = {name: round(value + float(rng.normal(0, 0.3)), 1) for name, value in values.items()}
            found.append(good_fields(f"station-{number:04d}", end_ms - 1000 * (120 - tick), tick, near))
    return [planned(fields) for fields in found]


def bad(end_ms: int) -> list[Planned]:
    """Ten minutes of a station that reports what no hall has."""
    sent = [
        good_fields(
            STATION, end_ms - 1000 * (BAD - at), 1000 + at, {"temperature": 90.0, "humidity": 48.0, "noise": 61.0}
        )
        for at in range(BAD)
    ]
    return [planned(fields) for fields in sent]


def planned(fields: dict[str, object]) -> Planned:
    """A reading to send."""
    return Planned("good", str(fields["station_id"]).encode(), json.dumps(fields).encode(), identity_of(fields))


def alarms(url: str) -> list[dict[str, Any]]:
    """The open alarms, as the API lists them."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        connection.request("GET", "/api/v1/alarms")
        answer = connection.getresponse()
        document = json.loads(answer.read())
        return list(document["alarms"]) if answer.status == 200 else []
    finally:
        connection.close()
