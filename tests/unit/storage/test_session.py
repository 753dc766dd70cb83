"""Configuration, the buckets of the partition keys, and how trouble is told apart."""

from __future__ import annotations

import pickle
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest
from cassandra import AuthenticationFailed, InvalidRequest, OperationTimedOut, ReadTimeout, Unavailable
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionShutdown
from cassandra.protocol import OverloadedErrorMessage, SyntaxException
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Retryable, StationwatchError, StoreUnavailable
from core.times import HOUR_MS, cql_date, steps, year_of
from storage.driver.retry import Patience, SchemaMissing, translated
from storage.driver.session import StoreConfig, connect, connected
from storage.tables.anomalies import time_slot
from storage.tables.readings import BUCKET_MS
from storage.tables.stations import station_slot

TIMES = st.integers(0, 4_102_444_800_000)


def test_config_comes_from_settings_and_travels_to_workers() -> None:
    """Breaks when a Spark worker cannot be given the configuration."""
    settings = SimpleNamespace(
        contact_points=["10.0.0.1", "10.0.0.2"],
        cassandra_port=9142,
        cassandra_keyspace="plant",
        cassandra_datacenter="dc1",
        cassandra_replication=3,
        readings_ttl_days=7,
        anomalies_ttl_days=8,
        cassandra_login=lambda: {"username": "plant", "password": "hush", "tls": True, "ca": "PEM"},
    )
    config = StoreConfig.from_settings(settings)
    assert pickle.loads(pickle.dumps(config)) == config  # noqa: S301  (our own bytes)
    assert (config.username, config.password, config.tls, config.ca) == ("plant", "hush", True, "PEM")
    assert config.place == "10.0.0.1,10.0.0.2:9142/plant"
    assert hash(config) == hash(StoreConfig.from_settings(settings))


def test_the_password_is_not_shown() -> None:
    """Breaks when a secret reaches a log line."""
    assert "hush" not in repr(StoreConfig(username="u", password="hush"))  # noqa: S106


def test_importing_storage_needs_no_heavy_library() -> None:
    """Breaks when each Spark worker pays for pandas, Spark, MLflow or pydantic at its start."""
    tables = ("readings", "anomalies", "feature_samples", "stations", "minutes", "stream_progress")
    heavy = ("pandas", "pyspark", "mlflow", "pydantic", "sklearn", "numba")
    program = "import sys\n" + "".join(f"import storage.tables.{name}\n" for name in tables)
    program += f"print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("error", [
    NoHostAvailable("none", {}), OperationTimedOut(), ReadTimeout("slow"), Unavailable("few"),
    ConnectionShutdown("gone"), OverloadedErrorMessage(0x1001, "busy", None),
])  # fmt: skip
def test_what_may_pass_by_itself_is_retryable(error: Exception) -> None:
    """Breaks when an outage ends the stream."""
    assert isinstance(translated(error, "here"), StoreUnavailable)


def test_what_cannot_pass_by_itself_is_not() -> None:
    """Breaks when a mistake of ours, a missing table or a wrong password is waited out as an outage."""
    missing = translated(InvalidRequest("table readings does not exist"), "here/k")
    assert isinstance(missing, SchemaMissing)
    assert not isinstance(missing, Retryable)
    assert isinstance(translated(SyntaxException(0x2000, "bad", None), "here"), SyntaxException)
    refused = translated(NoHostAvailable("none", {"h": AuthenticationFailed("no")}), "here")
    assert isinstance(refused, StationwatchError)
    assert not isinstance(refused, Retryable)


def test_patience_tells_of_every_pause_and_ends_at_the_deadline() -> None:
    """Breaks when a process waits silently or past its deadline."""
    told: list[tuple[Exception, float]] = []

    def down() -> None:
        raise StoreUnavailable("down")

    with pytest.raises(StoreUnavailable):
        Patience(1.5, lambda error, pause: told.append((error, pause))).call(down)
    assert len(told) >= 1 and sum(pause for _, pause in told) <= 1.5
    assert all(str(error) == "down" and pause > 0 for error, pause in told)


def test_a_port_where_nobody_listens_is_unavailable_at_the_deadline() -> None:
    """Breaks when the start of a process hangs, or dies at once, while Cassandra is not up yet."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        config = StoreConfig(port=taken.getsockname()[1])
        waits: list[float] = []
        with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{config.port}/stationwatch"):
            connect(config, 1.0, lambda _, pause: waits.append(pause))
        assert waits
        with pytest.raises(StoreUnavailable):
            connected(config, 0.3)


@given(TIMES)
def test_a_reading_lies_in_its_bucket(event_ms: int) -> None:
    """Breaks when a reader looks for a reading in another partition than the writer's."""
    (bucket,) = steps(event_ms, event_ms + 1, BUCKET_MS)
    assert bucket <= event_ms < bucket + BUCKET_MS
    assert bucket % BUCKET_MS == 0


@given(TIMES, st.integers(0, 50 * HOUR_MS))
def test_steps_cover_a_half_open_interval_and_no_more(start_ms: int, length_ms: int) -> None:
    """Breaks when a range reads one partition too few, or one that cannot hold anything."""
    end_ms = start_ms + length_ms
    found = list(steps(start_ms, end_ms, HOUR_MS))
    inside = [*range(start_ms, end_ms, HOUR_MS // 2), end_ms - 1] if length_ms else []
    assert found == sorted({time_ms // HOUR_MS * HOUR_MS for time_ms in inside})
    assert list(steps(start_ms, end_ms, HOUR_MS, newest_first=True)) == found[::-1]


def test_days_and_years_are_utc() -> None:
    """Breaks when the machine's time zone moves rows between partitions."""
    assert year_of(1_767_225_599_999) == 2025
    assert year_of(1_767_225_600_000) == 2026
    assert cql_date(86_399_999) == 2**31
    assert cql_date(86_400_000) == 2**31 + 1


def test_slots_are_those_of_the_tables() -> None:
    """Breaks when a hash of another program version sends a station to another partition."""
    assert (time_slot("station-0007"), station_slot("station-0007")) == (0xFFDEC543 % 8, 0xFFDEC543 % 16)
