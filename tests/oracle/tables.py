"""The tables as they are, read by whole paged scans over a session of the oracle's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, Session
from cassandra.policies import WhiteListRoundRobinPolicy
from cassandra.query import SimpleStatement, dict_factory

from core.settings import Settings
from storage.driver.session import StoreConfig, access
from tests.oracle.stream_input import Identity

PAGE_ROWS = 2000
TIMEOUT_SECONDS = 60.0
EPOCH = datetime(1970, 1, 1)  # the driver's times are naive UTC
Row = dict[str, Any]


@contextmanager
def session_of(settings: Settings) -> Iterator[Session]:
    """A session of the oracle's own, in no keyspace; rows are dictionaries."""
    profile = ExecutionProfile(
        load_balancing_policy=WhiteListRoundRobinPolicy(settings.contact_points),
        row_factory=dict_factory,
        request_timeout=TIMEOUT_SECONDS,
    )
    cluster = Cluster(
        settings.contact_points,
        port=settings.cassandra_port,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        protocol_version=5,
        connect_timeout=30,
        **access(StoreConfig.from_settings(settings)),
    )
    try:
        yield cluster.connect()
    finally:
        cluster.shutdown()


def scan(session: Session, keyspace: str, table: str) -> list[Row]:
    """All rows of a table, page by page. Times are ms since the epoch, maps and tuples plain Python."""
    statement = SimpleStatement(f"SELECT * FROM {keyspace}.{table}", fetch_size=PAGE_ROWS)  # noqa: S608
    return [{name: plain(value) for name, value in row.items()} for row in session.execute(statement)]


def plain(value: Any) -> Any:
    """A driver's value as plain Python."""
    if isinstance(value, datetime):
        return round((value - EPOCH).total_seconds() * 1000)
    if isinstance(value, tuple):
        return tuple(plain(part) for part in value)
    if hasattr(value, "items"):
        return {plain(key): plain(held) for key, held in value.items()}
    return value


def identity_of(row: Row) -> Identity:
    """(station_id, event_ms, seq) of a row of any table that holds readings."""
    return row["station_id"], row["event_time"], row["seq"]


def few(what: str, found: Any) -> list[str]:
    """One violation that names how many and shows some; none when there are none."""
    items = sorted(found, key=repr)
    if not items:
        return []
    shown = ", ".join(str(item)[:300] for item in items[:5])
    return [f"{what}: {len(items)}, such as {shown}"]
