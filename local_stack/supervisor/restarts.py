"""What ended is started again, after pauses that grow."""

from __future__ import annotations

from collections.abc import Callable

from core.errors import StationwatchError

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
# Whoever ran this long did not end of what ended it before.
STEADY_SECONDS = 300.0


class Restarts:
    """Watches one process.

    Args:
        name: of the process, for people.
        lives: whether it runs.
        start: starts it; a StationwatchError is said, and tried again.
        ended: says how it ended.
    """

    def __init__(
        self, name: str, *, lives: Callable[[], bool], start: Callable[[], None], ended: Callable[[], str]
    ) -> None:
        self.name, self.lives, self.start, self.ended = name, lives, start, ended
        self._pause = FIRST_PAUSE_SECONDS
        self._due: float | None = None
        self._since: float | None = None

    def look(self, now: float, say: Callable[[str], None]) -> None:
        """Report a process that ended, or start it again when its pause is over.

        Args:
            now: monotonic seconds.
            say: takes what happened.
        """
        if self._due is None:
            self._look_at(now, say)
        elif now >= self._due:
            self._start_again(now, say)

    def _look_at(self, now: float, say: Callable[[str], None]) -> None:
        self._since = now if self._since is None else self._since
        if self.lives():
            if now - self._since > STEADY_SECONDS:
                self._pause = FIRST_PAUSE_SECONDS
            return
        say(self.ended())
        self._postpone(now, say)

    def _start_again(self, now: float, say: Callable[[str], None]) -> None:
        try:
            self.start()
        except StationwatchError as error:
            say(str(error))
            self._postpone(now, say)
        else:
            say(f"{self.name}: started again")
            self._due, self._since = None, None

    def _postpone(self, now: float, say: Callable[[str], None]) -> None:
        say(f"{self.name} starts again in {self._pause:.0f} s")
        self._due = now + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)
