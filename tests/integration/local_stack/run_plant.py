"""`python -m local_stack run` as a user starts it, with a home, ports and output of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from core.settings import PREFIX, Settings
from tests.paths import ROOT
from tests.waiting import wait_until

START_SECONDS = 400.0
STOP_SECONDS = 150.0


class Run:
    """A `run` with a home, ports and output of its own."""

    def __init__(self, home: Path, **settings: object) -> None:
        self.home, self._output = home, home.with_suffix(".out")
        ports = dict.fromkeys((name for name in Settings.model_fields if name.endswith("_port")), 0)
        chosen = {"home": home, "forest_trees": 50, "stations": 3, **ports, **settings}
        self.env = {**os.environ, **{f"{PREFIX}{name.upper()}": str(value) for name, value in chosen.items()}}
        self._popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._output.open("wb") as output:
            self._popen = subprocess.Popen(
                self._command("run"), cwd=ROOT, env=self.env, stdout=output, stderr=subprocess.STDOUT
            )

    def other(self, verb: str) -> subprocess.CompletedProcess[str]:
        """Another command on the same home, in another terminal."""
        return subprocess.run(
            self._command(verb),
            cwd=ROOT,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
            timeout=STOP_SECONDS,
        )

    def wait_for(self, pattern: str) -> str:
        """Wait for a line and return its first group."""
        wait_until(
            lambda: self._ended() or re.search(pattern, self.text, re.MULTILINE) is not None, pattern, START_SECONDS
        )
        found = re.search(pattern, self.text, re.MULTILINE)
        assert found is not None, f"no {pattern!r} in\n{self.text}"
        return found.group(1)

    def stop(self, number: signal.Signals) -> int:
        """Send a signal and return the exit status."""
        assert self._popen is not None
        self._popen.send_signal(number)
        return self._popen.wait(STOP_SECONDS)

    def wait(self) -> int:
        assert self._popen is not None
        return self._popen.wait(START_SECONDS)

    @property
    def text(self) -> str:
        return self._output.read_text()

    def left(self) -> list[str]:
        """What still runs with this home in its environment, which every process of a run inherits."""
        return [f"{process.pid} {process.name()}" for process in psutil.process_iter() if self._is_mine(process)]

    def clear(self) -> None:
        """Leave nothing, whatever the test did."""
        for process in [process for process in psutil.process_iter() if self._is_mine(process)]:
            process.kill()
        if self._popen is not None:
            self._popen.wait(30)

    def _ended(self) -> bool:
        return self._popen is None or self._popen.poll() is not None

    def _is_mine(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(f"{PREFIX}HOME") == str(self.home)
        except psutil.Error:
            return False

    @staticmethod
    def _command(verb: str) -> list[str]:
        return [sys.executable, "-m", "local_stack", verb]
