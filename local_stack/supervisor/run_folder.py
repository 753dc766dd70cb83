"""What `run` leaves in the home folder: who runs, what it started; and how another command stops that."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from local_stack.errors import StackError
from local_stack.servers.processes import RecordedProcess
from local_stack.supervisor.programs import Program

# In the order in which they are stopped, with the seconds each may take: the stations flush what is in flight, the
# stream ends its batch.
STOP_SECONDS = {
    "stations": 30.0,
    "stream": 60.0,
    "alarms": 15.0,
    "levels": 10.0,
    "retrainer": 20.0,
    "api": 20.0,
    "train": 10.0,
    "history": 10.0,
    "schema": 10.0,
}
# All of them, and the servers.
_RUN_STOP_SECONDS = 180.0


class RunFolder:
    """The programs of one home folder.

    Args:
        home: `settings.home`.
    """

    def __init__(self, home: Path) -> None:
        self._home = home.resolve()
        self._folder = self._home / "run"
        self._run = RecordedProcess(self._folder / "run.json", self._folder / "run.out")
        self.programs = {name: Program(name, self._home, seconds) for name, seconds in STOP_SECONDS.items()}

    @contextmanager
    def taken(self, say: Callable[[str], None]) -> Iterator[None]:
        """Be the only `run` of this home, with nothing left of an earlier one.

        Raises:
            StackError: another one runs here.
        """
        for name in ("run", "logs"):
            (self._home / name).mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StackError(self._taken_by()) from None
            self._run.adopt()
            self.stop_programs(say)
            try:
                yield
            finally:
                self._run.forget()

    def stop(self, say: Callable[[str], None]) -> None:
        """Stop a `run` that runs here, and whatever one that was killed left behind."""
        if self._run.find() is not None:
            say("run: stopping")
            self._run.ask_to_stop()
            if not self._run.wait_gone(_RUN_STOP_SECONDS):
                say(f"run: did not stop within {_RUN_STOP_SECONDS:.0f} s and was killed")
        self._run.forget()
        self.stop_programs(say)

    def stop_programs(self, say: Callable[[str], None]) -> None:
        """Stop the programs that a killed `run` left behind."""
        for program in self.programs.values():
            if program.was_started():
                say(f"{program.name}: left behind by an earlier run, stopping")
                program.stop()

    def started(self) -> list[Program]:
        """Return the programs that were started and never stopped on purpose."""
        return [program for program in self.programs.values() if program.was_started()]

    def _taken_by(self) -> str:
        process = self._run.find()
        return (
            f"{self._home} is in use by another `run`{f', process {process.pid}' if process else ''}; stop it with "
            "`make down`, or set STATIONWATCH_HOME to another folder and the ports to 0 to run a second copy"
        )
