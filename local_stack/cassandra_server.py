"""The laptop's Cassandra: one node, synced commit log, little memory."""

from __future__ import annotations

import os
from pathlib import Path

from local_stack.ports import HOST
from local_stack.server import LocalServer


class CassandraServer(LocalServer):
    """Cassandra 5.0, on loopback only, without JMX unless `java_options` bring it."""

    name = "cassandra"
    port_setting = "cassandra_port"

    def command(self, java: str, classes: list[Path]) -> list[str]:
        """Write the configuration and return the command line."""
        agent = next(jar for jar in classes if jar.name.startswith("jamm-"))
        config = self._write("cassandra.yaml")
        logging = self._write("cassandra-logback.xml")
        options = self._write("cassandra-jvm.options")
        return [
            *self._java_base(java, self._settings.cassandra_heap_mb),
            f"@{options}",
            f"-javaagent:{agent}",
            f"-Dlogback.configurationFile={logging.as_uri()}",
            f"-Dcassandra.config={config.as_uri()}",
            f"-Dcassandra.storagedir={self.data}",
            "-cp",
            os.pathsep.join(str(jar) for jar in classes),
            "org.apache.cassandra.service.CassandraDaemon",
        ]

    def answers(self, timeout_seconds: float) -> bool:
        """Return whether a CQL query is answered."""
        return cassandra_answers(HOST, self.port, timeout_seconds)


def cassandra_answers(host: str, port: int, timeout_seconds: float = 5.0) -> bool:
    """Return whether a CQL query is answered at `host`."""
    # Imported late: `down` and `logs` need no driver.
    from storage.ready import answers

    return answers(host, port, timeout_seconds)
