"""A server's process: started in a session of its own, found again by pid and start time, stopped by pid only."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
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
        if self._child is not None and self._child.poll() is not None:
            self._child = None
        try:
            record = json.loads(self._record.read_text(encoding="utf-8"))
            process = psutil.Process(record["pid"])
            same = abs(process.create_time() - record["created"]) < _CLOCK_SLACK_SECONDS
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except (OSError, ValueError, KeyError, TypeError, psutil.NoSuchProcess):
            return None

    def start(self, command: Sequence[str], folder: Path) -> int:
        """Start `command` in `folder`, detached from this terminal, and record it.

        Returns:
            its pid.
        """
        # Few malloc arenas: on a laptop the memory of a JVM's native threads matters more than their contention.
        environment = {**os.environ, "MALLOC_ARENA_MAX": "2"}
        environment.pop("CLASSPATH", None)
        with signals_deferred(), self._output.open("wb") as output:
            self._child = subprocess.Popen(  # noqa: S603
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            pid = self._child.pid
            record = {"pid": pid, "created": psutil.Process(pid).create_time()}
            self._record.write_text(json.dumps(record), encoding="utf-8")
        return pid

    def was_started(self) -> bool:
        """Return whether it was started and never stopped on purpose."""
        return self._record.exists()

    def forget(self) -> None:
        """Drop the record of a process that was stopped on purpose."""
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
        for number, _ in caught[:1]:
            signal.raise_signal(number)
