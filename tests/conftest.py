"""Fixtures shared by all tests: one pair of real servers per run, and settings that are a test's own."""

from __future__ import annotations

import gc
import os
import uuid
from collections.abc import Iterator

import pytest

from core.settings import PREFIX, Settings
from local_stack.downloads.java import find_java
from local_stack.errors import StackError
from local_stack.servers.stack import Stack, endpoints_settings
from local_stack.servers.topics import create_topics
from storage.driver.session import StoreConfig, open_store
from tests.keyspaces import PREFIX as LENT
from tests.keyspaces import Keyspaces

# Servers that live for minutes: the quick compiler alone halves the CPU that their start takes.
SHORT_LIVED = ["-XX:TieredStopAtLevel=1"]

# A developer's own settings must not reach the tests; the jar cache is the one thing worth sharing.
for _name in [name for name in os.environ if name.startswith(PREFIX) and name != f"{PREFIX}CACHE"]:
    del os.environ[_name]


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Real Kafka and Cassandra on free ports in a temporary folder, stopped at the end whatever happens."""
    try:
        find_java()
    except StackError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    home = tmp_path_factory.mktemp("home")
    settings = Settings(_env_file=None, home=home, kafka_port=0, cassandra_port=0, server_metrics=False)
    running = Stack(settings, java_options={"kafka": SHORT_LIVED, "cassandra": SHORT_LIVED}, say=print)
    try:
        running.up()
        _running.append(running)
        yield running
    finally:
        _running.clear()
        running.down()


_running: list[Stack] = []


@pytest.fixture(scope="session")
def keyspaces(stack: Stack) -> Keyspaces:
    """Keyspaces with empty tables, for as long as a test or a module wants one."""
    return Keyspaces(stack)


@pytest.fixture(scope="module", autouse=True)
def _keyspaces_end_with_their_tests() -> Iterator[None]:
    """Drop what a module's tests made: many keyspaces, each with all tables, fill the whole heap of Cassandra."""
    yield
    if _running:
        # What a module has left open is reported with its own tests, not with those of another module.
        gc.collect()
    for running in _running:
        _drop_keyspaces(StoreConfig.from_settings(endpoints_settings(Settings(_env_file=None), running.endpoints())))


def _drop_keyspaces(config: StoreConfig) -> None:
    store = open_store(config, None)
    try:
        for (name,) in store.rows("SELECT keyspace_name FROM system_schema.keyspaces"):
            if not name.startswith(("system", LENT)):
                store.run(f"DROP KEYSPACE {name}")
    finally:
        store.close()


@pytest.fixture
def settings(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings for the running servers, with a home, a keyspace name and topics of the test's own; the topics exist."""
    mark = uuid.uuid4().hex[:10]
    mine = Settings(
        _env_file=None,
        home=tmp_path_factory.mktemp("home"),
        cassandra_keyspace=f"test_{mark}",
        readings_topic=f"readings-{mark}",
        rejected_topic=f"readings-{mark}.rejected",
        labels_topic=f"fault-labels-{mark}",
        stream_metrics_port=0,
        alarms_metrics_port=0,
        retrainer_metrics_port=0,
        api_port=0,
    )
    mine = endpoints_settings(mine, stack.endpoints())
    create_topics(mine)
    return mine


@pytest.fixture(autouse=True)
def _answers_keep_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer of every application that a test makes is held against its declared schema."""
    from apiflask import APIFlask

    from tests.contract import CheckedClient

    monkeypatch.setattr(APIFlask, "test_client_class", CheckedClient)
