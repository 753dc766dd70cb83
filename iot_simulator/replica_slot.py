"""Which slice a replica takes when nobody numbers replicas: the first free one, held by a file lock."""

from __future__ import annotations

import fcntl
import logging
import threading
from pathlib import Path
from typing import IO, NamedTuple

log = logging.getLogger(__name__)
_PAUSE_SECONDS = 2.0


class Slot(NamedTuple):
    """A slice that is held as long as `held` is open; the system gives it back when the process dies."""

    number: int
    held: IO[str]


def claim(folder: Path, replicas: int, stop: threading.Event) -> Slot | None:
    """Take the first free slot of a folder that all replicas on this machine share.

    A replica too many waits as a spare and takes the place of the first that dies. Not for: replicas on several
    machines, whose file locks do not see each other; number those by `--replica`.

    Args:
        folder: shared, on one machine's disk.
        replicas: how many slots there are.
        stop: ends the waiting.

    Returns:
        the slot; None when stopped before one was free.
    """
    folder.mkdir(parents=True, exist_ok=True)
    said = False
    while not stop.is_set():
        for number in range(replicas):
            held = (folder / f"slot-{number}").open("w")
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.close()
            else:
                log.info("slice %d of %d", number, replicas)
                return Slot(number, held)
        if not said:
            said = True
            log.warning("all %d slots in %s are taken; waiting as a spare", replicas, folder)
        stop.wait(_PAUSE_SECONDS)
    return None
