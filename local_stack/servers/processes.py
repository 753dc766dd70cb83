"""A server's process: started in a session of its own, found again by pid and start time, stopped by pid only."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import psutil

STOP_SECONDS = 30.0
# psutil computes the start time from the boot time, which moves when the clock is set.
_CLOCK_SLACK_SECONDS = 2.0


class RecordedProcess:
    """The process named in a small file, which outlives the program that started it.

    Args:
        record: where pid and start time are kept.
        output: where the process's own stdout and stderr go; its last run only.
    """

    def __init__(self, record: Path, output: Path) -> None:
        self._record = record
        self._output = output
        self._child: subprocess.Popen[bytes] | None = None

    def find(self) -> psutil.Process | None:
        """Return the recorded process when it still runs, else None.

        A pid that the system has given to another process since does not count.
        """
        pid, created = self._recorded()
        ours = self._child is not None and self._child.poll() is None and self._child.pid == pid
        try:
            process = psutil.Process(pid)
            same = abs(process.create_time() - created) < _CLOCK_SLACK_SECONDS
            # While its last threads end, a process looks like a zombie and yet has no exit status.
            return process if same and (ours or _lives(process)) else None
        except (ValueError, psutil.NoSuchProcess):
            return None

    def family(self) -> list[psutil.Process]:
        """Return everything that lives in the session it leads, or led before it died: Spark's JVM and its workers.

        As long as one of them lives, the system gives the session's number to nobody else.
        """
        pid, created = self._recorded()
        members = [process for process in psutil.process_iter() if _belongs(process, pid)]
        # Younger or older than the recorded leader: a session of somebody who got the number later.
        strange = any(abs(one.create_time() - created) > _CLOCK_SLACK_SECONDS for one in members if one.pid == pid)
        return [] if strange else [process for process in members if _lives(process)]

    @property
    def exit_status(self) -> int | None:
        """How the last run that was started here ended; None while it runs, or when another program started it."""
        return self._child.poll() if self._child is not None else None

    def start(self, command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> int:
        """Start `command` in `folder`, detached from this terminal, and record it.

        Args:
            command: program and arguments.
            folder: where it runs.
            env: environment variables above this process's own.

        Returns:
            its pid.
        """
        # Few malloc arenas: on a laptop the memory of a JVM's native threads matters more than their contention.
        environment = {**os.environ, "MALLOC_ARENA_MAX": "2", **(env or {})}
        environment.pop("CLASSPATH", None)
        self._output.unlink(missing_ok=True)
        # Appending, so that the file can be shortened under the running process.
        with signals_deferred(), self._output.open("ab") as output:
            self._child = subprocess.Popen(  # noqa: S603
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._write(self._child.pid)
        return self._child.pid

    def adopt(self) -> None:
        """Record this very process."""
        self._write(os.getpid())

    def was_started(self) -> bool:
        """Return whether it was started and never stopped on purpose."""
        return self._record.exists()

    def forget(self) -> None:
        """Drop the record of a process that was stopped on purpose."""
        if self._child is not None:
            self._child.poll()  # reaps it
        self._record.unlink(missing_ok=True)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if the process runs."""
        process = self.find()
        if process is not None:
            process.send_signal(number)

    def ask_to_stop(self) -> None:
        """Send TERM, also to a paused process."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)

    def wait_gone(self, seconds: float = STOP_SECONDS) -> bool:
        """Wait until the process is gone; after `seconds` kill it.

        Returns:
            whether it went by itself.
        """
        process = self.find()
        if process is None:
            return True
        try:
            process.wait(seconds)
            return True
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)
            return False
        finally:
            self.find()

    def kill(self) -> None:
        """Kill it (SIGKILL) and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self.wait_gone()

    def _write(self, pid: int) -> None:
        record = {"pid": pid, "created": psutil.Process(pid).create_time()}
        self._record.write_text(json.dumps(record), encoding="utf-8")

    def _recorded(self) -> tuple[int, float]:
        """Pid and start time of the record; (-1, 0) without one, or with a torn one."""
        try:
            record = json.loads(self._record.read_text(encoding="utf-8"))
            return int(record["pid"]), float(record["created"])
        except (OSError, ValueError, KeyError, TypeError):
            return -1, 0.0


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Let Ctrl-C and TERM wait until the block is done, so that no process is started without being recorded."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[tuple[int, FrameType | None]] = []
    watched = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *got: caught.append(got)) for number in watched}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for got, _ in caught[:1]:
            signal.raise_signal(got)


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _belongs(process: psutil.Process, session: int) -> bool:
    try:
        return os.getsid(process.pid) == session
    except OSError:
        return False
