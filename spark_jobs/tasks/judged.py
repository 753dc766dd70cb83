"""What the steps of a task hand to each other: judged readings, and where they are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pyspark import Broadcast

from core.verdict import Verdicts
from models.scoring.detector import Detector
from spark_jobs.tasks.packing import ShardOutput
from storage.driver.session import StoreConfig


@dataclass(frozen=True)
class Sinks:
    """Where a task writes. Picklable.

    Args:
        store: Cassandra.
        kafka: client settings for kafka-python, with `bootstrap_servers`.
        topic, rejected_topic: of readings and of dead letters.
        readings_share: share of stations whose readings are kept, in [0, 1].
        samples_per_minute: slots of feature samples.
        deadline_seconds: how long a task retries before the batch starts anew.
    """

    store: StoreConfig
    kafka: Mapping[str, Any] = field(repr=False)
    topic: str
    rejected_topic: str
    readings_share: float
    samples_per_minute: int
    deadline_seconds: float


@dataclass(frozen=True)
class Judged:
    """Accepted readings of a task with what was said of them.

    Args:
        output: of the state operator.
        verdicts: along `output.accepted`.
        versions: (n,) int64 model version of each reading.
        documents: row → JSON verdict, of the flagged rows.
    """

    output: ShardOutput
    verdicts: Verdicts
    versions: np.ndarray
    documents: dict[int, bytes]


_loaded: dict[int, tuple[int, Detector]] = {}
_MOST_LOADED = 4  # the champion before, the champion, a challenger, and one to spare


def detector_of(version: int, broadcast: Broadcast[bytes]) -> Detector:
    """Return the detector of a model version, unpacked once per worker process."""
    data = broadcast.value
    known = _loaded.get(version)
    if known is None or known[0] != hash(data):
        while len(_loaded) >= _MOST_LOADED:
            del _loaded[next(iter(_loaded))]
        _loaded[version] = (hash(data), Detector.from_bytes(data))
    return _loaded[version][1]
