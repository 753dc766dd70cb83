"""Servers with passwords and TLS take the right login and refuse any other, in our own words."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import BrokerRefused, BrokerUnavailable, StationwatchError
from core.settings import PREFIX, Settings
from iot_simulator.publisher import Publisher
from local_stack.servers import topics
from local_stack.servers.stack import Stack
from local_stack.servers.topics import create_topics
from spark_jobs.plant_levels.sample import KafkaTail
from spark_jobs.tasks.source import check_topics
from storage.driver.session import StoreConfig, open_store
from tests.oracle.kafka_log import read_topic
from tests.secured import Secrets, make_secrets, secured_stack

REFUSED = f"{PREFIX}KAFKA_USER or what {PREFIX}KAFKA_PASSWORD_FILE holds"

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Secrets:
    return make_secrets(tmp_path_factory.mktemp("secrets"))


@pytest.fixture(scope="module")
def running(made: Secrets, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Settings]]:
    with secured_stack(tmp_path_factory.mktemp("home"), made) as both:
        yield both


@pytest.fixture
def mine(running: tuple[Stack, Settings]) -> Settings:
    return running[1]


@pytest.fixture
def wrong(mine: Settings, tmp_path: Path) -> Settings:
    """The right user with another password."""
    (tmp_path / "wrong").write_text("guessed")
    return mine.model_copy(
        update={"kafka_password_file": tmp_path / "wrong", "cassandra_password_file": tmp_path / "wrong"}
    )


@pytest.fixture
def distrusting(mine: Settings, tmp_path: Path) -> Settings:
    """The right login with another authority."""
    ca = make_secrets(tmp_path).ca
    return mine.model_copy(update={"kafka_ca_file": ca, "cassandra_ca_file": ca})


def test_the_right_login_is_taken_by_all_that_open_them(mine: Settings) -> None:
    """Breaks when one of our clients leaves out the login or TLS."""
    publisher = Publisher(mine.kafka_client_options(), threading.Event())
    assert publisher.connect() and publisher.publish(mine.readings_topic, b"station-1", b"{}")
    publisher.close(30)
    assert publisher.counts(mine.readings_topic).acknowledged == 1
    assert check_topics(mine.kafka_client_options(), mine.readings_topic, mine.rejected_topic) == []
    tail = KafkaTail(mine.kafka_client_options(), mine.readings_topic)
    assert len(tail.take(0)) == len(read_topic(mine.kafka_client_options(), mine.readings_topic)) == 1
    tail.close()
    store = open_store(StoreConfig.from_settings(mine), None)
    assert store.one("SELECT release_version FROM system.local")
    store.close()


def test_cassandra_refuses_in_our_words(mine: Settings, wrong: Settings, distrusting: Settings) -> None:
    """Breaks when a wrong password is waited out like an outage, or another authority's certificate is taken."""
    strangers = mine.model_copy(update={"cassandra_user": "", "cassandra_password_file": None})
    for settings in (wrong, strangers):
        with pytest.raises(StationwatchError, match=f"refuses {PREFIX}CASSANDRA_USER or what .*_PASSWORD_FILE holds"):
            open_store(StoreConfig.from_settings(settings), None)
    with pytest.raises(StationwatchError, match=f"{PREFIX}CASSANDRA_CA_FILE does not vouch for"):
        open_store(StoreConfig.from_settings(distrusting), None)


def test_nobody_logs_in_as_everybody(mine: Settings, tmp_path: Path) -> None:
    """Breaks when the local Cassandra keeps the login that each new one has."""
    (tmp_path / "known").write_text("cassandra")
    known = mine.model_copy(
        update={"cassandra_user": "cassandra", "cassandra_password_file": tmp_path / "known"}
    )  # fmt: skip
    with pytest.raises(StationwatchError, match="refuses"):
        open_store(StoreConfig.from_settings(known), None)


def test_a_wrong_password_stops_the_publisher(wrong: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """Breaks when stations wait, without a word of why, for a broker that refuses them.

    The client loses the broker's answer now and then; until it is heard the reason is a guess, and said as one.
    """
    stop = threading.Event()
    timer = threading.Timer(15, stop.set)
    timer.start()
    try:
        assert not Publisher(wrong.kafka_client_options(), stop).connect()
        said = caplog.text
    except BrokerRefused as error:
        said = str(error)
    finally:
        timer.cancel()
    assert REFUSED in said


def test_topics_refuse_in_our_words(wrong: Settings, distrusting: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when the reason is a client's timeout."""
    monkeypatch.setattr(topics, "PATIENCE_SECONDS", 8.0)
    with pytest.raises((BrokerRefused, BrokerUnavailable), match=REFUSED):
        create_topics(wrong)
    with pytest.raises(BrokerRefused, match=f"{PREFIX}KAFKA_CA_FILE does not vouch for"):
        check_topics(distrusting.kafka_client_options(), distrusting.readings_topic, distrusting.rejected_topic)
