"""Processes under test: started with their own log, watched, and killed with everything they started, by pid."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.paths import ROOT

TAIL_LINES = 60
POLL_SECONDS = 0.25

# The driver's own command line names the daemon too, as a setting.
_DAEMONS = (["-m", "pyspark.daemon"], ["-m", "spark_jobs.driver.worker_daemon"])


class NotInTime(AssertionError):
    """Something waited for did not come about."""


@dataclass
class Running:
    """A started process, leader of its own session."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    def alive(self) -> bool:
        """Whether it still runs."""
        return self.popen.poll() is None

    def family(self) -> list[psutil.Process]:
        """The process and all that descends from it or lives in its session, children first."""
        pid = self.popen.pid
        members = {process.pid: process for process in psutil.process_iter() if _session(process.pid) == pid}
        try:
            leader = psutil.Process(pid)
            members |= {child.pid: child for child in leader.children(recursive=True)} | {pid: leader}
        except psutil.NoSuchProcess:
            pass
        return sorted(members.values(), key=lambda process: process.pid == pid)

    def workers(self) -> list[psutil.Process]:
        """The Python worker processes of a Spark driver: pyspark's daemon and what it forked."""
        return [process for process in self.family() if _command(process)[1:3] in _DAEMONS]

    def kill(self) -> None:
        """SIGKILL the whole family at once, as a power cut would."""
        family = self.family()
        for process in family:
            _signal(process, signal.SIGSTOP)  # nobody gets to clean up after another
        for process in family + self.family():
            _signal(process, signal.SIGKILL)
        psutil.wait_procs(family, timeout=30)
        self.popen.wait(timeout=30)

    def stop(self, seconds: float = 60.0) -> int:
        """SIGTERM and wait for the exit status; the family is killed when it takes longer.

        Raises:
            NotInTime: it did not end by itself.
        """
        if self.alive():
            self.popen.terminate()
        try:
            return self.popen.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise NotInTime(f"{self.name} ignored SIGTERM for {seconds:.0f} s\n{self.tail()}") from None

    def tail(self, lines: int = TAIL_LINES) -> str:
        """The end of its log."""
        text = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return f"--- {self.name}, {self.log}\n" + "\n".join(text[-lines:])

    def wait_until(self, what: str, condition: Callable[[], bool], seconds: float) -> None:
        """Poll until `condition` holds while this process runs.

        Raises:
            NotInTime: the process ended, or the deadline passed; with the end of its log.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if not self.alive():
                raise NotInTime(f"{self.name} ended with {self.popen.returncode} before {what}\n{self.tail()}")
            if time.monotonic() > deadline:
                raise NotInTime(f"no {what} within {seconds:.0f} s\n{self.tail()}")
            time.sleep(POLL_SECONDS)


def start(name: str, arguments: Sequence[str], env: Mapping[str, str], log: Path) -> Running:
    """Start `python ARGUMENTS` in the project's folder, with `env` above this process's environment.

    Its output is appended to `log`. It leads a session of its own, so that a kill reaches all of it and nothing else.
    """
    with log.open("ab") as output:
        popen = subprocess.Popen(  # noqa: S603 (the test's own command)
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Running(name, popen, log)


@contextmanager
def running(name: str, arguments: Sequence[str], env: Mapping[str, str], log: Path) -> Iterator[Running]:
    """Like `start`; whatever happens, nothing of it is left at the end."""
    process = start(name, arguments, env, log)
    try:
        yield process
    finally:
        if process.family():
            process.kill()


def run(name: str, arguments: Sequence[str], env: Mapping[str, str], log: Path, seconds: float) -> None:
    """Run a command to its end.

    Raises:
        NotInTime: it took longer.
        AssertionError: it failed; with the end of its log.
    """
    with running(name, arguments, env, log) as process:
        process.wait_until("its end", lambda: not process.alive(), seconds)
        assert process.popen.returncode == 0, f"{name} failed with {process.popen.returncode}\n{process.tail()}"


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
