"""`python -m local_stack monitor`: Prometheus and Alertmanager beside a running stack, until Ctrl-C."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from core.settings import PREFIX, Settings
from local_stack.errors import StackError
from local_stack.servers.ports import HOST, free_ports, is_taken, owner
from local_stack.servers.processes import RecordedProcess
from local_stack.servers.server import tail
from local_stack.supervisor.targets import targets_file

CONFIG = Path(__file__).resolve().parents[2] / "prometheus"
PACKAGES = {"prometheus": "prometheus", "prometheus-alertmanager": "prometheus-alertmanager"}
READY_SECONDS = 60.0
_POLL_SECONDS = 0.25
_RENEW_SECONDS = 5.0
_INSTALL = "apt-get install --no-install-recommends prometheus prometheus-alertmanager"


def monitor(settings: Settings, say: Callable[[str], None]) -> int:
    """Start both, show where they are, and keep their targets equal to what `run` runs.

    Returns:
        0 after a stop that was asked for.

    Raises:
        StackError: a program is missing, a port is taken, or one of them ended.
    """
    install_missing(say)
    folder = (settings.home / "monitor").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(f"{folder} is in use by another `monitor`; stop that one") from None
        watch = Monitor(settings, folder, say)
        try:
            watch.start()
            watch.watch()
        except KeyboardInterrupt:
            return 0
        finally:
            watch.stop()


def install_missing(say: Callable[[str], None]) -> None:
    """Install the Debian packages of programs that are missing, where that is allowed.

    Raises:
        StackError: it is not; with the sentence how.
    """
    missing = [package for program, package in PACKAGES.items() if shutil.which(program) is None]
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise StackError(f"missing here: {', '.join(missing)}; on Debian, as root: {_INSTALL}")
    say(f"installing {', '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *missing]):
        done = subprocess.run(["apt-get", *arguments], env=environment, check=False)  # noqa: S603, S607
        if done.returncode:
            raise StackError(f"apt-get {arguments[0]} failed; install by hand: {_INSTALL}")


class Monitor:
    """The two processes of one home.

    Args:
        settings: ports, home, the Alertmanager's configuration.
        folder: theirs; `prometheus/` is copied into it, data and targets lie beside.
        say: takes one line of progress at a time.
    """

    def __init__(self, settings: Settings, folder: Path, say: Callable[[str], None]) -> None:
        self._settings, self._folder, self._say = settings, folder, say
        self._processes = {
            name: RecordedProcess(folder / f"{name}.pid.json", folder / f"{name}.log")
            for name in ("alertmanager", "prometheus")
        }
        self.ports: dict[str, int] = {}

    def start(self) -> None:
        """Start both and wait until they answer.

        Raises:
            StackError: with the end of the log.
        """
        if not targets_file(self._settings.home).is_file():
            raise StackError(f"nothing runs in {self._settings.home}: `make run` in another terminal first")
        for process in self._processes.values():
            process.ask_to_stop()
            process.wait_gone()
        self.ports = {name: self._port(f"{name}_port") for name in ("prometheus", "alertmanager")}
        self._lay_out()
        for name, command in self._commands().items():
            self._processes[name].start(command, self._folder)
        for name in self._processes:
            self._wait_ready(name)
            self._say(f"{name}: http://{HOST}:{self.ports[name]}/")
        self._say(f"logs: {self._folder}/*.log   stop: Ctrl-C here; the stack runs on")

    def watch(self) -> NoReturn:
        """Follow the targets until a signal raises KeyboardInterrupt.

        Raises:
            StackError: one of the two ended.
        """
        while True:
            time.sleep(_RENEW_SECONDS)
            self._write_targets()
            for name, process in self._processes.items():
                if process.find() is None:
                    raise StackError(f"{name} ended.\n{self._last_lines(name)}")

    def stop(self) -> None:
        """Stop both."""
        for process in self._processes.values():
            process.ask_to_stop()
        for process in self._processes.values():
            process.wait_gone()
            process.forget()

    def _port(self, name: str) -> int:
        port = int(getattr(self._settings, name))
        if port and is_taken(port):
            raise StackError(
                f"port {port} is taken by {owner(port)}; stop it, or set {PREFIX}{name.upper()} to another or to 0"
            )
        return port or free_ports(1)[0]

    def _lay_out(self) -> None:
        for name in ("prometheus.yml", "rules", "alertmanager"):
            source, copy = CONFIG / name, self._folder / name
            if source.is_dir():
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(source, copy)
            else:
                shutil.copyfile(source, copy)
        for name in ("targets", "secrets"):
            (self._folder / name).mkdir(exist_ok=True)
        token = self._folder / "secrets" / "api_token"
        if not token.exists():
            token.write_text("none", encoding="utf-8")
        self._write_targets()

    def _write_targets(self) -> None:
        try:
            groups = json.loads(targets_file(self._settings.home).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return  # `run` writes it again when it starts
        own = [_group(name, port) for name, port in self.ports.items()]
        files = {
            "api": [group for group in groups if group["labels"]["job"] == "api"],
            "scrape": [*(group for group in groups if group["labels"]["job"] != "api"), *own],
            "alertmanager": [_group("alertmanager", self.ports["alertmanager"])],
        }
        for name, found in files.items():
            path = self._folder / "targets" / f"{name}.json"
            text = json.dumps(found, indent=1)
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                draft = path.with_suffix(".part")
                draft.write_text(text, encoding="utf-8")
                draft.replace(path)

    def _commands(self) -> dict[str, list[str]]:
        config = self._settings.alertmanager_config or self._folder / "alertmanager" / "local.yml"
        listen = {name: f"--web.listen-address={HOST}:{port}" for name, port in self.ports.items()}
        return {
            "alertmanager": [
                "prometheus-alertmanager",
                f"--config.file={Path(config).resolve()}",
                f"--storage.path={self._folder / 'alertmanager-data'}",
                "--cluster.listen-address=",
                listen["alertmanager"],
            ],
            "prometheus": [
                "prometheus",
                f"--config.file={self._folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={self._folder / 'prometheus-data'}",
                "--storage.tsdb.retention.time=15d",
                listen["prometheus"],
            ],
        }

    def _wait_ready(self, name: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if self._processes[name].find() is None:
                raise StackError(f"{name} ended while starting.\n{self._last_lines(name)}")
            if _answers(self.ports[name]):
                return
            time.sleep(_POLL_SECONDS)
        raise StackError(f"{name} does not answer after {READY_SECONDS:.0f} s.\n{self._last_lines(name)}")

    def _last_lines(self, name: str) -> str:
        return "\n".join(tail(self._folder / f"{name}.log", 15))


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5.0)
    try:
        with suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/-/ready")
            return connection.getresponse().status == 200
        return False
    finally:
        connection.close()


def _group(job: str, port: int) -> dict[str, object]:
    return {"targets": [f"{HOST}:{port}"], "labels": {"job": job}}
