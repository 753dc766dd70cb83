"""Table `feature_samples` as arrays: what drift and fitting read of some hours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.errors import ArtefactRefused
from models.scoring.feature_block import Blocks, block_width, unpack_rows
from models.scoring.feature_samples import Samples
from storage.driver.session import Store
from storage.tables.feature_samples import samples_between


@dataclass(frozen=True)
class SampleWindow:
    """The samples of some hours.

    Args:
        samples: those that this release can read, by minute and slot.
        versions: (n,) int64 model version that judged each.
        unreadable: how many have blocks of another release or of another number of sensors.
    """

    samples: Samples
    versions: np.ndarray
    unreadable: int


def read_window(store: Store, sensors: tuple[str, ...], start_ms: int, end_ms: int) -> SampleWindow:
    """Read the samples with start_ms <= event time < end_ms, one partition an hour.

    Args:
        store: where.
        sensors: names in the catalogue's order, which is that of the blocks.
        start_ms: ms since the epoch.
        end_ms: ms since the epoch.

    Raises:
        StoreUnavailable: Cassandra is away.
    """
    rows, packed, unreadable = [], [], 0
    for row in samples_between(store, start_ms, end_ms):
        try:
            packed.append(unpack_rows([row.block], sensors).rows)
        except ArtefactRefused:
            unreadable += 1
        else:
            rows.append(row)
    blocks = Blocks(sensors, np.concatenate(packed) if packed else np.zeros((0, block_width(len(sensors))), np.float32))
    samples = Samples(
        [row.station_id for row in rows],
        np.array([row.event_ms for row in rows], np.int64),
        np.array([row.flags for row in rows], np.int32),
        blocks,
    )
    return SampleWindow(samples, np.array([row.model_version for row in rows], np.int64), unreadable)
