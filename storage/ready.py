"""Whether a Cassandra answers."""

from __future__ import annotations

from cassandra import DriverException
from cassandra.cluster import Cluster, NoHostAvailable
from cassandra.policies import WhiteListRoundRobinPolicy


def answers(host: str, port: int, timeout_seconds: float) -> bool:
    """Return whether a CQL query is answered. An open port is not enough: Cassandra opens it before it serves.

    Args:
        host: address of one node.
        port: its CQL port.
        timeout_seconds: how long to wait for the connection, and again for the answer.
    """
    cluster = Cluster(
        [host],
        port=port,
        connect_timeout=timeout_seconds,
        control_connection_timeout=timeout_seconds,
        load_balancing_policy=WhiteListRoundRobinPolicy([host]),
    )
    try:
        session = cluster.connect()
        return session.execute("SELECT release_version FROM system.local", timeout=timeout_seconds).one() is not None
    except (NoHostAvailable, DriverException, OSError):
        return False
    finally:
        cluster.shutdown()
