"""Ports of the local servers: which are free, and who has the others."""

from __future__ import annotations

import random
import socket
from pathlib import Path

import psutil

from local_stack.errors import StackError

HOST = "127.0.0.1"
_LOWEST, _EPHEMERAL = 15_000, 32_768
# Handed out by this process, which may listen on them only much later.
_given: set[int] = set()
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_ports(count: int, rng: random.Random | None = None) -> list[int]:
    """Return `count` different ports that nobody uses, and that this process was not given before.

    They lie below the ports that the kernel hands to outgoing connections. Otherwise, while a killed server is
    away, a client that keeps trying to reconnect can be given the server's own port, talk to itself, and keep the
    server from coming back.

    Raises:
        StackError: no free port among 200 tries.
    """
    rng = rng or random.SystemRandom()
    tried = rng.sample(range(_LOWEST, _first_ephemeral()), 200)
    found = [port for port in tried if port not in _given and not is_taken(port)][:count]
    if len(found) < count:
        raise StackError(f"no free ports among 200 tried from {_LOWEST} up; stop something, or set the ports by hand")
    _given.update(found)
    return found


def is_taken(port: int) -> bool:
    """Return whether somebody listens on `port`, or keeps us from listening."""
    if listens(port):
        return True
    with socket.socket() as probe:
        # Java's server sockets set it too: connections of a stopped server, still closing, are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def listens(port: int) -> bool:
    """Return whether a connection to `port` is accepted."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0


def owner(port: int) -> str:
    """Name the process that listens on `port`, as far as the system tells."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()})"
    except psutil.Error:
        pass
    return "another process"


def _first_ephemeral() -> int:
    try:
        first = int(_EPHEMERAL_RANGE.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError):
        return _EPHEMERAL
    return min(first, _EPHEMERAL) if first >= _LOWEST + 1000 else _EPHEMERAL
