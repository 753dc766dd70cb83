"""The command that compares labels with stored anomalies, on real Kafka and Cassandra."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from kafka import KafkaProducer

from benchmarks import live_faults
from core.settings import PREFIX, Settings
from iot_simulator.encode import encode_label
from models.evaluation.fault_models import Fault
from storage.driver.session import StoreConfig, connect
from storage.tables.anomalies import AnomalyRow, write_anomalies
from tests.keyspaces import Keyspaces


def anomaly(station: str, event_ms: int, ordinal: int) -> AnomalyRow:
    return AnomalyRow(
        station, event_ms, ordinal, {"noise": 80.0}, 2.0, 50.0, 1, "{}", ordinal, None, 1, 0, ordinal, event_ms,
        event_ms, event_ms,
    )  # fmt: skip


def pointed_at(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("kafka_bootstrap", "cassandra_hosts", "cassandra_port", "cassandra_keyspace", "labels_topic", "home"):
        monkeypatch.setenv(f"{PREFIX}{name.upper()}", str(getattr(settings, name)))


def test_labels_are_held_against_stored_anomalies(
    keyspaces: Keyspaces, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with keyspaces.lent() as lent:
        mine = settings.model_copy(update={"cassandra_keyspace": lent.cassandra_keyspace})
        hold_labels_against_anomalies(mine, monkeypatch, capsys)


def hold_labels_against_anomalies(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pointed_at(settings, monkeypatch)
    now = datetime.now(UTC).replace(microsecond=0)
    start = now - timedelta(minutes=20)
    over = Fault("station-0001", "noise", "shift", start, start + timedelta(minutes=2), 8.0)
    missed = Fault("station-0002", "noise", "shift", start, start + timedelta(minutes=2), 3.5)
    under_way = Fault("station-0001", "noise", "drift", now, now + timedelta(minutes=9), 9.0)
    config = StoreConfig.from_settings(settings)
    first_ms = int(start.timestamp() * 1000)
    with closing(connect(config)) as store:
        write_anomalies(
            store, [anomaly("station-0001", first_ms + 30_000, 500), anomaly("station-0001", first_ms + 600_000, 900)]
        )
    with closing(KafkaProducer(**settings.kafka_client_options())) as producer:
        for label in (over, over, missed, under_way):
            producer.send(settings.labels_topic, encode_label(label))
        producer.flush(30)

    assert live_faults.main(["--minutes", "60"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (shift,) = (line for line in lines if line.startswith("| shift"))
    assert [cell.strip() for cell in shift.split("|")[2:-1]] == ["0 of 1", "-", "1 of 1", "1 of 2", "30 s"]
    assert "faults of 6 σ and more that were seen: 1 of 1" in lines
    assert lines[-1].startswith("alarms beside faults: 1 in ")


def test_without_any_label_it_says_what_to_do(
    keyspaces: Keyspaces, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pointed_at(settings, monkeypatch)
    assert live_faults.main([]) == 1
    assert "STATIONWATCH_FAULT_RATE" in capsys.readouterr().err
