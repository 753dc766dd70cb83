"""The laptop's Cassandra: one node, synced commit log, little memory."""

from __future__ import annotations

import os
from pathlib import Path

from core.settings import PREFIX, Settings
from local_stack.errors import StackError
from local_stack.servers.ports import HOST
from local_stack.servers.server import LocalServer


class CassandraServer(LocalServer):
    """Cassandra 5.0, on loopback only, without JMX unless `java_options` bring it."""

    kind = "cassandra"
    port_setting = "cassandra_port"

    def command(self, java: str, classes: list[Path]) -> list[str]:
        """Write the configuration and return the command line."""
        agent = next(jar for jar in classes if jar.name.startswith("jamm-"))
        config = self._write("cassandra.yaml", **self._security())
        logging = self._write("cassandra-logback.xml")
        options = self._write("cassandra-jvm.options")
        return [
            *self._java_base(java, self._settings.cassandra_heap_mb),
            f"@{options}",
            f"-javaagent:{agent}",
            f"-Dlogback.configurationFile={logging.as_uri()}",
            f"-Dcassandra.config={config.as_uri()}",
            f"-Dcassandra.storagedir={self.data}",
            # The first login is made at once, not after ten seconds.
            "-Dcassandra.superuser_setup_delay_ms=0",
            "-cp",
            os.pathsep.join(str(jar) for jar in classes),
            "org.apache.cassandra.service.CassandraDaemon",
        ]

    def answers(self, timeout_seconds: float) -> bool:
        """Return whether a CQL query is answered, with a login to the user of the settings and to nobody else."""
        mine = self._settings.model_copy(update={"cassandra_hosts": HOST, "cassandra_port": self.port})
        if mine.cassandra_user:
            return self.process.find() is not None and _took_over(mine, timeout_seconds)
        return cassandra_answers(mine, timeout_seconds)

    def _security(self) -> dict[str, str]:
        """The lines of the configuration about logins and TLS."""
        settings = self._settings
        if settings.cassandra_user == "cassandra":
            raise StackError(f"{PREFIX}CASSANDRA_USER=cassandra is everybody's; choose another for the local server")
        return {
            "authenticator": "PasswordAuthenticator" if settings.cassandra_user else "AllowAllAuthenticator",
            "tls": str(settings.cassandra_tls).lower(),
            "keystore": str(self._certificate(settings.cassandra_tls, settings.cassandra_ca_file)),
            "truststore": str(settings.cassandra_ca_file),
        }


def cassandra_answers(settings: Settings, timeout_seconds: float = 5.0) -> bool:
    """Return whether a CQL query is answered at the first contact point."""
    # Imported late: `down` and `logs` need no driver.
    from storage.driver.ready import answers
    from storage.driver.session import StoreConfig

    return answers(StoreConfig.from_settings(settings), timeout_seconds)


def _took_over(settings: Settings, timeout_seconds: float) -> bool:
    from storage.driver.ready import take_over
    from storage.driver.session import StoreConfig

    return take_over(StoreConfig.from_settings(settings), timeout_seconds)
