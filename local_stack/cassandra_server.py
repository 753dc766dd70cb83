"""The laptop's Cassandra: one node, synced commit log, little memory."""

from __future__ import annotations

import os

from local_stack.jars import jars
from local_stack.java import find_java
from local_stack.ports import HOST
from local_stack.server import LocalServer


class CassandraServer(LocalServer):
    """Cassandra 5.0, on loopback only, without JMX unless `java_options` bring it."""

    name = "cassandra"
    port_setting = "cassandra_port"

    def command(self) -> list[str]:
        """Write the configuration and return the command line."""
        java = find_java()
        found = jars("cassandra", self._settings.cache)
        agent = next(jar for jar in found if jar.name.startswith("jamm-"))
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
            os.pathsep.join(str(jar) for jar in found),
            "org.apache.cassandra.service.CassandraDaemon",
        ]

    def answers(self, timeout_seconds: float) -> bool:
        """Return whether a CQL query is answered."""
        # Imported late: `status` and `logs` need no driver.
        from storage.ready import answers

        return answers(HOST, self.port, timeout_seconds)
