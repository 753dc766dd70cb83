"""How long a swap takes and what it costs: a stream at 1,000 readings a second, an alias that moves to and fro."""

from __future__ import annotations

import re
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks.stream.latency import Sent, send
from benchmarks.stream.plant import Running, command, count_rows, named, plant, store_of, stored, stream
from core.settings import Settings
from local_stack.servers.topics import create_topics
from models.registry.registry import CHALLENGER, CHAMPION, Registry
from models.registry.registry_mirror import mirror

RATE, SWAPS, EVERY_SECONDS = 1000, 8, 8.0
SENDING_SECONDS = 100.0
SETTLE_SECONDS, START_SECONDS, DRAIN_SECONDS = 20.0, 180.0, 60.0
_BATCH = re.compile(r"^(\S+ \S+),(\d{3}) .*: batch \d+: .* version (\d+),", re.MULTILINE)


class Batch(NamedTuple):
    """A batch that is stored: when, in s since the epoch, and the version of its last readings."""

    time: float
    version: int


class Swap(NamedTuple):
    """What became of an alias that moved.

    Args:
        seconds: until the first batch of the other version was stored.
        between: batches that were stored meanwhile, each by the version before.
        pause: longest time between two stored batches, from the last one before the move to the second one after.
    """

    seconds: float
    between: int
    pause: float


def measure() -> dict[str, Any]:
    """Return delays and pauses of swaps under load; servers, stream and model are started for it."""
    with (
        tempfile.TemporaryDirectory(prefix="stationwatch-swap-") as folder,
        plant(Path(folder)) as (settings, _),
    ):
        settings = named(settings, "swap", readings_topic="swap", rejected_topic="swap.rejected")
        create_topics(settings)
        again = ("--readings", str(settings.home / "history.parquet"), "--seed", "8", "--alias", CHALLENGER)
        command(settings, "models.train", *again)
        sent, moves, log = _under_load(settings)
        kept = count_rows(settings, "readings", "seq")
    batches = batches_of(log)
    swaps = [swap_of(batches, at, version) for at, version in moves]
    calm = [batch for batch in batches if moves[0][0] - SETTLE_SECONDS / 2 <= batch.time < moves[0][0]]
    if len(calm) < 2:
        raise SystemExit(f"the stream stored {len(calm)} batches in {SETTLE_SECONDS / 2:g} s: the machine is too busy")
    return {
        "swap_rate": RATE,
        "swaps": len(swaps),
        "swap_seconds": median(swap.seconds for swap in swaps),
        "swap_longest_seconds": max(swap.seconds for swap in swaps),
        "swap_most_batches_between": max(swap.between for swap in swaps),
        "swap_longest_pause_seconds": max(swap.pause for swap in swaps),
        "calm_longest_pause_seconds": max(later.time - earlier.time for earlier, later in pairwise(calm)),
        "swap_readings_sent": sent,
        "swap_readings_stored": kept,
    }


def swap_of(batches: Sequence[Batch], at: float, version: int) -> Swap:
    """What followed the move of the alias to `version`.

    Args:
        batches: in order.
        at: when it moved, s since the epoch.
        version: that judges from then on.

    Raises:
        ValueError: it never judged.
    """
    first = next((n for n, batch in enumerate(batches) if batch.time > at and batch.version == version), None)
    if first is None:
        raise ValueError(f"version {version} did not judge after its alias moved")
    begun = next(n for n, batch in enumerate(batches) if batch.time > at)
    around = batches[max(0, begun - 1) : first + 3]
    pause = max((later.time - earlier.time for earlier, later in pairwise(around)), default=0.0)
    return Swap(batches[first].time - at, first - begun, pause)


def batches_of(log: str) -> list[Batch]:
    """The batches that a stream's log tells of, in order."""
    return [
        Batch(datetime.fromisoformat(at).timestamp() + int(ms) / 1000.0, int(version))
        for at, ms, version in _BATCH.findall(log)
    ]


def _under_load(settings: Settings) -> tuple[int, list[tuple[float, int]], str]:
    """Swap as the retrainer does, while readings flow.

    Returns:
        How many were sent, (when, to which version) of each swap, and the stream's log.
    """
    registry = Registry(settings.tracking_uri, settings.model_name)
    versions = {number: registry.version(number) for number in (1, 2)}
    first, sent, moves = Sent(), Sent(), []
    with stream(settings, "swap") as process:
        send(settings, RATE, 2.0, first, threading.Event())
        _until_stored(settings, process, first.count, START_SECONDS)
        sender = threading.Thread(target=send, args=(settings, RATE, SENDING_SECONDS, sent, threading.Event()))
        sender.start()
        time.sleep(SETTLE_SECONDS)
        with closing(store_of(settings)) as store:
            for number in range(SWAPS):
                version = versions[2 - number % 2]
                moves.append((time.time(), version.number))
                registry.set_alias(CHAMPION, version)
                registry.drop_alias(CHALLENGER)
                mirror(registry, store, int(time.time() * 1000))
                time.sleep(EVERY_SECONDS)
        sender.join()
        _until_stored(settings, process, first.count + sent.count, DRAIN_SECONDS)
        return first.count + sent.count, moves, process.text()


def _until_stored(settings: Settings, process: Running, count: int, seconds: float) -> None:
    ends = time.monotonic() + seconds
    with closing(store_of(settings)) as store:
        while sum(stored(store, settings.readings_topic).values()) < count:
            process.check()
            if time.monotonic() > ends:
                raise SystemExit(f"not stored in {seconds:g} s: {count} readings\n{process.text()[-2000:]}")
            time.sleep(0.1)
