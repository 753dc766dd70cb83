"""Waiting for what a test needs: look often, give up late.

Only a failing test uses up the patience, so it is long: two other programs may share the machine's cores.
"""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_SECONDS = 120.0
POLL_SECONDS = 0.05


def wait_until(
    condition: Callable[[], object],
    what: str,
    seconds: float = PATIENCE_SECONDS,
    detail: Callable[[], object] = lambda: "",
) -> None:
    """Wait until `condition()` is true.

    Args:
        condition: asked every 50 ms.
        what: is waited for, for the message.
        seconds: until it is given up.
        detail: shown when it is given up, such as the end of a log.

    Raises:
        AssertionError: it is not true at the deadline.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds:g} s still not: {what}\n{detail()}"
        time.sleep(POLL_SECONDS)
