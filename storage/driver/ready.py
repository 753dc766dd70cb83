"""Whether a Cassandra answers, and what a fresh one needs before it does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from cassandra import DriverException
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, Session
from cassandra.policies import WhiteListRoundRobinPolicy

from storage.driver.session import StoreConfig, access

# The login that every new Cassandra with a PasswordAuthenticator knows.
_WELL_KNOWN = "cassandra"


def answers(config: StoreConfig, timeout_seconds: float) -> bool:
    """Return whether a CQL query is answered. An open port is not enough: Cassandra opens it before it serves.

    Args:
        config: its first host is asked.
        timeout_seconds: how long to wait for the connection, and again for the answer.
    """
    try:
        with _session(config, timeout_seconds) as session:
            return session.execute("SELECT release_version FROM system.local").one() is not None
    except (NoHostAvailable, DriverException, OSError):
        return False


def take_over(config: StoreConfig, timeout_seconds: float) -> bool:
    """Make `config.username` the superuser of a Cassandra of one's own, in place of the one that everybody knows.

    May be called again: what an earlier call left half done is finished.

    Returns:
        whether that user is let in and the well-known one is gone.
    """
    try:
        if not answers(config, timeout_seconds):
            _make_superuser(config, timeout_seconds)
        with _session(config, timeout_seconds) as session:
            session.execute(f"DROP ROLE IF EXISTS {_WELL_KNOWN}")
    except (NoHostAvailable, DriverException, OSError):
        return False
    return True


def _make_superuser(config: StoreConfig, timeout_seconds: float) -> None:
    name, password = config.username.replace('"', '""'), config.password.replace("'", "''")
    with _session(replace(config, username=_WELL_KNOWN, password=_WELL_KNOWN), timeout_seconds) as session:
        options = f"PASSWORD = '{password}' AND LOGIN = true AND SUPERUSER = true"
        session.execute(f'CREATE ROLE IF NOT EXISTS "{name}" WITH {options}')


@contextmanager
def _session(config: StoreConfig, timeout_seconds: float) -> Iterator[Session]:
    host = config.hosts[0]
    profile = ExecutionProfile(load_balancing_policy=WhiteListRoundRobinPolicy([host]), request_timeout=timeout_seconds)
    cluster = Cluster(
        [host],
        port=config.port,
        # Every Cassandra since 2.2 speaks it; unset, the driver tries versions and warns at each.
        protocol_version=4,
        connect_timeout=timeout_seconds,
        control_connection_timeout=timeout_seconds,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        **access(config),
    )
    try:
        yield cluster.connect()
    finally:
        cluster.shutdown()
