"""The programs of `run`: each a process of its own session with a bounded log, found again after a crash."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from local_stack.errors import StackError
from local_stack.servers.processes import RecordedProcess
from local_stack.servers.server import tail

LARGEST_LOG_BYTES = 20_000_000
SHOWN_LINES = 15
# What a program started itself, such as Spark's JVM, ends soon after it.
FAMILY_SECONDS = 5.0
_KILL_SECONDS = 15.0
_KILL_ROUNDS = 3
_POLL_SECONDS = 0.1


class Program:
    """One of stationwatch's own commands, run below `home`.

    Args:
        name: of its log and its record.
        home: `settings.home`.
        stop_seconds: how long it may take to end after TERM.
    """

    def __init__(self, name: str, home: Path, stop_seconds: float = 20.0) -> None:
        self.name = name
        self.stop_seconds = stop_seconds
        self.log = home / "logs" / f"{name}.log"
        self._process = RecordedProcess(home / "run" / f"{name}.json", self.log)

    def start(self, arguments: Sequence[str], env: Mapping[str, str]) -> None:
        """Start `python ARGUMENTS` in this working folder; the last run's log is kept beside the new one."""
        if self.log.exists():
            self.log.replace(self._previous_log)
        self._process.start([sys.executable, *arguments], Path.cwd(), {"PYTHONUNBUFFERED": "1", **env})

    def runs(self) -> bool:
        """Return whether it runs."""
        return self._process.find() is not None

    @property
    def pid(self) -> int | None:
        """Its pid while it runs."""
        process = self._process.find()
        return process.pid if process else None

    @property
    def exit_status(self) -> int | None:
        """How it ended, when it was started here."""
        return self._process.exit_status

    def run(
        self,
        arguments: Sequence[str],
        env: Mapping[str, str],
        cancelled: threading.Event,
        watch: Callable[[], None] = lambda: None,
    ) -> None:
        """Run a command to its end.

        Args:
            arguments: of python.
            env: environment variables above this process's own.
            cancelled: once set, the command is stopped.
            watch: called now and then meanwhile.

        Raises:
            StackError: it failed, or `cancelled` was set and it was stopped; with the end of its log.
        """
        self.start(arguments, env)
        while self.runs() and not cancelled.wait(_POLL_SECONDS):
            watch()
        status = self.exit_status
        self.stop()
        if status is None:
            raise StackError(f"{self.name} was cut short")
        if status != 0:
            raise StackError(self.ended())

    def stop(self, hurry: threading.Event | None = None) -> bool:
        """Ask it to end, and after a deadline kill it, with everything it started. Harmless when nothing runs.

        Args:
            hurry: cuts every deadline short once it is set.

        Returns:
            whether all of it ended by itself.
        """
        self._process.ask_to_stop()
        hurry = hurry or threading.Event()
        by_itself = _wait(lambda: not self.runs(), self.stop_seconds, hurry)
        by_itself = _wait(lambda: not self._process.family(), FAMILY_SECONDS, hurry) and by_itself
        # Killing the parent first lets nothing grow back; what forked meanwhile is found on the next round.
        for _ in range(_KILL_ROUNDS):
            family = self._process.family()
            for member in sorted(family, key=lambda process: process.pid):
                with suppress(psutil.NoSuchProcess):
                    member.send_signal(signal.SIGKILL)
            psutil.wait_procs(family, timeout=_KILL_SECONDS)
        self._process.forget()
        return by_itself

    def ended(self) -> str:
        """Say how it ended, with the last lines of its log."""
        status = self.exit_status
        manner = "" if status is None else f" by signal {-status}" if status < 0 else f" with exit status {status}"
        return f"{self.name} ended{manner}.\n{self.last_lines(SHOWN_LINES)}"

    def last_lines(self, count: int) -> str:
        """Return the last lines of its log."""
        return "\n".join([f"--- {self.log}", *tail(self.log, count)])

    def was_started(self) -> bool:
        """Return whether it was started and never stopped on purpose."""
        return self._process.was_started()

    def status(self) -> tuple[str, bool]:
        """Return one line about it, and whether it runs."""
        family = self._process.family()
        if not self.runs():
            return f"{self.name}: does not run\n{self.last_lines(SHOWN_LINES)}", False
        resident = sum(_resident_bytes(process) for process in family) / 2**20
        return f"{self.name}: runs, pid {self.pid}, {len(family)} processes, {resident:.0f} MiB", True

    def bound_log(self, largest_bytes: int = LARGEST_LOG_BYTES) -> None:
        """Move what was logged so far aside when it has grown large; the running program writes on."""
        with suppress(OSError):
            if self.log.stat().st_size > largest_bytes:
                shutil.copyfile(self.log, self._previous_log)
                os.truncate(self.log, 0)

    @property
    def _previous_log(self) -> Path:
        return self.log.with_name(f"{self.name}.previous.log")


def _wait(condition: Callable[[], bool], seconds: float, hurry: threading.Event) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline or hurry.is_set():
            return False
        hurry.wait(_POLL_SECONDS)
    return True


def _resident_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
