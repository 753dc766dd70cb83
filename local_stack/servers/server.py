"""What the two local servers have in common: ports, files, start, readiness, stop."""

from __future__ import annotations

import json
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from string import Template

import psutil

from core.settings import PREFIX, Settings
from local_stack.downloads.jars import jars
from local_stack.downloads.java import find_java
from local_stack.errors import StackError
from local_stack.servers.jmx import agent_option
from local_stack.servers.ports import HOST, free_ports, is_taken, listens, owner
from local_stack.servers.processes import RecordedProcess

READY_SECONDS = 180.0
_POLL_SECONDS = 0.25
_TEMPLATES = Path(__file__).parents[1] / "templates"


class LocalServer(ABC):
    """One server of the laptop, with everything it owns in one folder.

    Args:
        settings: ports, heap, folders.
        java_options: further options of its Java, such as a `-javaagent`.
        certificate: PEM file with its key and certificate, where the settings ask for TLS.
        name: of the folder and in messages; empty: the kind.
    """

    kind: str
    port_setting: str

    def __init__(
        self, settings: Settings, java_options: Sequence[str] = (), certificate: Path | None = None, name: str = ""
    ) -> None:
        self._settings = settings
        self._java_options = tuple(java_options)
        self._own_certificate = certificate
        self.name = name or self.kind
        self.folder = (settings.home / "stack" / self.name).resolve()
        self.data = self.folder / "data"
        self.log = self.folder / f"{self.name}.log"
        self.output = self.folder / f"{self.name}.out"
        self.process = RecordedProcess(self.folder / "process.json", self.output)

    @abstractmethod
    def command(self, java: str, classes: list[Path]) -> list[str]:
        """Write the configuration and return the command line.

        Args:
            java: path of a Java 17.
            classes: the verified jars of the server.
        """

    @abstractmethod
    def answers(self, timeout_seconds: float) -> bool:
        """Return whether the server serves, not only listens."""

    @property
    def port(self) -> int:
        """The clients' port: the one chosen at the last start, 0 before the first."""
        return self._ports()["port"]

    @property
    def metrics_port(self) -> int:
        """Where the JMX agent of the last start serves, 0 when there is none."""
        return self._ports().get("metrics_port", 0) if self._settings.server_metrics else 0

    @property
    def variable(self) -> str:
        """The environment variable that sets the port."""
        return PREFIX + self.port_setting.upper()

    @property
    def wanted_port(self) -> int:
        """The clients' port that the settings name, 0 for any."""
        return int(getattr(self._settings, self.port_setting))

    def prepare(self, same_port: bool = False) -> None:
        """Fetch what it needs and choose its ports. It must not run already.

        Args:
            same_port: come back on the port of the last start, or fail.

        Raises:
            StackError: the port is taken.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        # Fetched before the ports are chosen: a download takes long enough for somebody else to take them.
        jars(self.kind, self._settings.cache)
        if self._settings.server_metrics:
            jars("jmx", self._settings.cache)
        self._choose_ports(same_port)

    def launch(self) -> None:
        """Start the process on the ports that `prepare` chose."""
        if self.log.exists():
            self.log.replace(self.folder / f"{self.name}.previous.log")
        self.process.start(self.command(find_java(), jars(self.kind, self._settings.cache)), self.folder)

    def wait_ready(self) -> None:
        """Wait until the server answers.

        Raises:
            StackError: it died or does not answer in time; with the last lines of its log.
        """
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if self.process.find() is None:
                raise StackError(f"{self.name} stopped while starting.\n{self.last_lines(20)}")
            if listens(self.port) and self.answers(5.0):
                return
            time.sleep(_POLL_SECONDS)
        raise StackError(f"{self.name} does not answer after {READY_SECONDS:.0f} s.\n{self.last_lines(20)}")

    def status(self) -> tuple[str, bool]:
        """Return one line about the server, and whether it answers."""
        process = self.process.find()
        if process is None:
            crashed = f", yet `down` did not stop it\n{self.last_lines(10)}" if self.process.was_started() else ""
            return f"{self.name}: does not run{crashed}", False
        well = listens(self.port) and self.answers(5.0)
        manner = "answers" if well else "does not answer"
        return f"{self.name}: {manner} on {HOST}:{self.port}, pid {process.pid}, {self.rss_mib():.0f} MiB", well

    def last_lines(self, count: int) -> str:
        """Return the last lines of the log, and of what its Java printed past the log."""
        parts = []
        for path in (self.log, self.output):
            lines = tail(path, count)
            if lines:
                parts.append("\n".join([f"--- {path}", *lines]))
        return "\n".join(parts) or f"--- {self.log} is empty"

    def rss_mib(self) -> float:
        """Resident memory of the running process, MiB; 0 when it does not run."""
        process = self.process.find()
        try:
            return process.memory_info().rss / 2**20 if process else 0.0
        except psutil.NoSuchProcess:
            return 0.0

    def erase(self) -> None:
        """Delete data, logs and configuration. The server must not run."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, template: str, **values: object) -> Path:
        path = self.folder / template.removeprefix(f"{self.kind}-")
        text = Template((_TEMPLATES / template).read_text(encoding="utf-8"))
        path.touch(mode=0o600)
        path.write_text(text.substitute(host=HOST, data=self.data, log=self.log, **self._ports(), **values), "utf-8")
        return path

    def _certificate(self, tls: bool, ca: Path | None) -> Path | None:
        if tls and not (self._own_certificate and ca):
            raise StackError(
                f"{self.name}: TLS is set, and the local server has no certificate; name your own server by "
                f"{PREFIX}KAFKA_BOOTSTRAP or {PREFIX}CASSANDRA_HOSTS, or unset it"
            )
        return self._own_certificate

    def _java_base(self, java: str, heap_mb: int) -> list[str]:
        scratch = self.folder / "tmp"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        # The serial collector needs least memory beside the heap, and two cores gain little from a parallel one.
        return [
            java,
            f"-Xms{heap_mb // 2}m",
            f"-Xmx{heap_mb}m",
            "-XX:+UseSerialGC",
            "-XX:+ExitOnOutOfMemoryError",
            "-XX:-UsePerfData",
            "-Djava.awt.headless=true",
            f"-Djava.io.tmpdir={scratch}",
            *self._metrics_options(),
            *self._java_options,
        ]

    def _metrics_options(self) -> list[str]:
        if not self._settings.server_metrics:
            return []
        return [agent_option(self.kind, self.metrics_port, self._settings.cache)]

    def _ports(self) -> dict[str, int]:
        try:
            return dict(json.loads((self.folder / "ports.json").read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {"port": 0, "internal_port": 0}

    def _choose_ports(self, same_port: bool) -> None:
        last = self._ports()
        wanted = last["port"] if same_port else self.wanted_port
        port = self._free(wanted) if wanted else self._free_or_other(last["port"])
        chosen = {"port": port}
        for name in ("internal_port", "peer_port", "metrics_port"):
            chosen[name] = self._free_or_other(last.get(name, 0))
        (self.folder / "ports.json").write_text(json.dumps(chosen), encoding="utf-8")

    def _free(self, port: int) -> int:
        if is_taken(port):
            raise StackError(
                f"{self.name}: port {port} is taken by {owner(port)}; stop it, or set {self.variable} to another port "
                "or to 0 for any free one"
            )
        return port

    @staticmethod
    def _free_or_other(port: int) -> int:
        return port if port and not is_taken(port) else free_ports(1)[0]


def tail(path: Path, count: int) -> list[str]:
    """Return the last lines of a file, none when it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 64_000))
            return file.read().decode("utf-8", errors="replace").splitlines()[-count:]
    except OSError:
        return []
