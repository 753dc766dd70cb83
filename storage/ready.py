"""Whether a Cassandra answers."""

from __future__ import annotations

from cassandra import DriverException
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.policies import WhiteListRoundRobinPolicy


def answers(host: str, port: int, timeout_seconds: float) -> bool:
    """Return whether a CQL query is answered. An open port is not enough: Cassandra opens it before it serves.

    Args:
        host: address of one node.
        port: its CQL port.
        timeout_seconds: how long to wait for the connection, and again for the answer.
    """
    profile = ExecutionProfile(load_balancing_policy=WhiteListRoundRobinPolicy([host]), request_timeout=timeout_seconds)
    cluster = Cluster(
        [host],
        port=port,
        # Every Cassandra since 2.2 speaks it; unset, the driver tries versions and warns at each.
        protocol_version=4,
        connect_timeout=timeout_seconds,
        control_connection_timeout=timeout_seconds,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
    )
    try:
        session = cluster.connect()
        return session.execute("SELECT release_version FROM system.local").one() is not None
    except (NoHostAvailable, DriverException, OSError):
        return False
    finally:
        cluster.shutdown()
