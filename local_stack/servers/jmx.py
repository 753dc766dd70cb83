"""The JMX agent: Prometheus figures of a JVM, by the allow-lists in `prometheus/jmx/`."""

from __future__ import annotations

from pathlib import Path

from local_stack.downloads.jars import jars
from local_stack.errors import StackError
from local_stack.servers.ports import HOST

RULES = Path(__file__).resolve().parents[2] / "prometheus" / "jmx"


def agent_option(name: str, port: int, cache: Path) -> str:
    """Return the Java option that makes a JVM serve its figures at `http://127.0.0.1:PORT/metrics`.

    Args:
        name: of the rules: kafka, cassandra, spark.
        port: to serve at.
        cache: `settings.cache`, for the agent's jar.

    Raises:
        StackError: there are no such rules, or the jar cannot be had.
    """
    rules = RULES / f"{name}.yml"
    if not rules.is_file():
        raise StackError(f"{rules}: no such file; work in a checkout, or set STATIONWATCH_SERVER_METRICS=false")
    (agent,) = jars("jmx", cache)
    return f"-javaagent:{agent}={HOST}:{port}:{rules}"
