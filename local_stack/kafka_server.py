"""The laptop's Kafka: one broker that is its own KRaft controller."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import uuid
from pathlib import Path

from local_stack.errors import StackError
from local_stack.ports import HOST
from local_stack.server import LocalServer
from local_stack.topics import broker_answers

_HEAP_MB = 320


class KafkaServer(LocalServer):
    """Kafka 4 in KRaft mode, on loopback only."""

    name = "kafka"
    port_setting = "kafka_port"

    def command(self, java: str, classes: list[Path]) -> list[str]:
        """Write the configuration, format the log folder once, and return the command line."""
        class_path = os.pathsep.join(str(jar) for jar in classes)
        config = self._write("kafka.properties")
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
        return broker_answers(f"{HOST}:{self.port}", timeout_seconds)

    def _format(self, java: str, class_path: str, config: Path) -> None:
        done = self.folder / "formatted"
        if done.exists():
            return
        # A folder without the mark was never served from: a format that was cut short starts over.
        shutil.rmtree(self.data, ignore_errors=True)
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode("ascii").rstrip("=")
        tool = [java, "-XX:TieredStopAtLevel=1", "-cp", class_path, "kafka.tools.StorageTool"]
        command = [*tool, "format", f"--cluster-id={cluster}", "-c", str(config)]
        shown = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if shown.returncode:
            raise StackError(f"Kafka could not format {self.data}: {(shown.stderr or shown.stdout).strip()}")
        done.write_text(cluster, encoding="utf-8")
