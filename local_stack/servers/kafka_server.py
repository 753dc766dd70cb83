"""The laptop's Kafka: one broker, or several, each its own KRaft controller."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import shutil
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path

from core.settings import PREFIX, Settings, password_in
from local_stack.errors import StackError
from local_stack.servers.ports import HOST
from local_stack.servers.server import LocalServer
from local_stack.servers.topics import broker_answers

_HEAP_MB = 320
# The fewest that Kafka takes.
_ITERATIONS = 4096


class KafkaServer(LocalServer):
    """Kafka 4 in KRaft mode, on loopback only.

    Args:
        settings: ports, heap, folders, logins.
        java_options: further options of its Java.
        certificate: PEM file with key and certificate, where the settings ask for TLS.
        brokers: all of the cluster, filled by whoever makes them; this one is one of them.
    """

    kind = "kafka"
    port_setting = "kafka_port"

    def __init__(
        self,
        settings: Settings,
        java_options: Sequence[str] = (),
        certificate: Path | None = None,
        brokers: list[KafkaServer] | None = None,
    ) -> None:
        self._brokers = [] if brokers is None else brokers
        self._brokers.append(self)
        self.node = len(self._brokers)
        super().__init__(settings, java_options, certificate, "kafka" if self.node == 1 else f"kafka-{self.node}")

    @property
    def wanted_port(self) -> int:
        """The port that the settings name is the first broker's."""
        return super().wanted_port if self.node == 1 else 0

    def command(self, java: str, classes: list[Path]) -> list[str]:
        """Write the configuration, format the log folder once, and return the command line."""
        class_path = os.pathsep.join(str(jar) for jar in classes)
        voters = ",".join(f"{one.node}@{HOST}:{one._ports()['internal_port']}" for one in self._brokers)
        replicas = len(self._brokers)
        config = self._write(
            "kafka.properties",
            node=self.node,
            voters=voters,
            replicas=replicas,
            least_replicas=min(2, replicas),
            security=self._security(),
        )
        logging = self._write("kafka-log4j2.properties")
        self._format(java, class_path, config)
        return [
            *self._java_base(java, _HEAP_MB),
            f"-Dlog4j2.configurationFile={logging.as_uri()}",
            "-cp",
            class_path,
            "kafka.Kafka",
            str(config),
        ]

    def answers(self, timeout_seconds: float) -> bool:
        """Return whether a metadata call is answered."""
        mine = self._settings.model_copy(update={"kafka_bootstrap": f"{HOST}:{self.port}"})
        return broker_answers(mine.kafka_client_options(), timeout_seconds)

    def _security(self) -> str:
        """The lines about protocols: between brokers certificates on both sides, for clients a password over TLS."""
        settings, names = self._settings, ("CLIENTS", "PEERS", "CONTROLLER")
        if settings.kafka_security_protocol == "PLAINTEXT":
            return "listener.security.protocol.map=" + ",".join(f"{name}:PLAINTEXT" for name in names)
        if settings.kafka_security_protocol != "SASL_SSL" or settings.kafka_sasl_mechanism == "PLAIN":
            raise StackError(
                "the local broker speaks PLAINTEXT, or SASL_SSL with SCRAM; set "
                f"{PREFIX}KAFKA_SECURITY_PROTOCOL, or name your own broker by {PREFIX}KAFKA_BOOTSTRAP"
            )
        mechanism = settings.kafka_sasl_mechanism
        module = "org.apache.kafka.common.security.scram.ScramLoginModule"
        return f"""\
listener.security.protocol.map=CLIENTS:SASL_SSL,PEERS:SSL,CONTROLLER:SSL
ssl.keystore.type=PEM
ssl.keystore.location={self._certificate(True, settings.kafka_ca_file)}
ssl.truststore.type=PEM
ssl.truststore.location={settings.kafka_ca_file}
listener.name.peers.ssl.client.auth=required
listener.name.controller.ssl.client.auth=required
sasl.enabled.mechanisms={mechanism}
listener.name.clients.{mechanism.lower()}.sasl.jaas.config={module} required;"""

    def _format(self, java: str, class_path: str, config: Path) -> None:
        done = self.folder / "formatted"
        if done.exists():
            return
        # A folder without the mark was never served from: a format that was cut short starts over.
        shutil.rmtree(self.data, ignore_errors=True)
        first = self._brokers[0].folder / "formatted"
        cluster = first.read_text("utf-8") if first.exists() else _random_id()
        # In a file, since everybody sees a command line.
        arguments = self.folder / "format.arguments"
        words = ["-XX:TieredStopAtLevel=1", "-cp", class_path, "kafka.tools.StorageTool", "format"]
        words += [f"--cluster-id={cluster}", "-c", str(config), *self._first_login()]
        arguments.touch(mode=0o600)
        arguments.write_text("".join(f"{_java_quoted(word)}\n" for word in words), "utf-8")
        try:
            shown = subprocess.run([java, f"@{arguments}"], capture_output=True, text=True, check=False)  # noqa: S603
        finally:
            arguments.unlink()
        if shown.returncode:
            raise StackError(f"Kafka could not format {self.data}: {(shown.stderr or shown.stdout).strip()}")
        done.write_text(cluster, encoding="utf-8")

    def _first_login(self) -> list[str]:
        """The user of the settings, made with the log folder: a broker that wants a login has to know one."""
        settings = self._settings
        if not settings.kafka_user:
            return []
        salt, password = secrets.token_bytes(16), password_in(settings.kafka_password_file).encode()
        algorithm = settings.kafka_sasl_mechanism.removeprefix("SCRAM-").replace("-", "").lower()
        salted = hashlib.pbkdf2_hmac(algorithm, password, salt, _ITERATIONS)
        fields = f'name="{settings.kafka_user}",salt="{_base64(salt)}",saltedpassword="{_base64(salted)}"'
        return ["--add-scram", f"{settings.kafka_sasl_mechanism}=[{fields},iterations={_ITERATIONS}]"]


def _random_id() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode("ascii").rstrip("=")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _java_quoted(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
