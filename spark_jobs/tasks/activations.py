"""Which model version judges which offset: data, written ahead, so that a replay judges alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Offsets = dict[int, int]  # Kafka partition → offset


@dataclass(frozen=True)
class Activations:
    """Per partition, `(from_offset, version)` in ascending order. Picklable: it travels to the scoring tasks."""

    by_partition: Mapping[int, Sequence[tuple[int, int]]]

    def newest(self) -> int | None:
        """Return the version that judges the newest readings, None before the first activation."""
        last = [pairs[-1] for pairs in self.by_partition.values() if pairs]
        return max(last)[1] if last else None

    def versions(self) -> set[int]:
        """Return every version that judges some offset."""
        return {version for pairs in self.by_partition.values() for _, version in pairs}

    def needed(self, starts: Offsets, ends: Offsets) -> set[int]:
        """Return the versions that judge offsets in [start, end) of some partition."""
        return {
            version
            for partition, end in ends.items()
            for version in np.unique(
                self.of(partition, _edges(self.by_partition[partition], starts.get(partition, 0), end))
            )
        }

    def of(self, partition: int, offsets: np.ndarray) -> np.ndarray:
        """Return the version of each offset of a partition, (n,) int64.

        Raises:
            KeyError: the partition has no activation; `Judging` writes them ahead of every batch.
        """
        pairs = self.by_partition[partition]
        starts = np.array([start for start, _ in pairs], np.int64)
        versions = np.array([version for _, version in pairs], np.int64)
        return versions[np.searchsorted(starts, offsets, side="right") - 1]


def _edges(pairs: Sequence[tuple[int, int]], start: int, end: int) -> np.ndarray:
    """Offsets at which every version that judges [start, end) shows: its ends, and each activation within."""
    inside = [at for at, _ in pairs if start < at < end]
    return np.array([start, *inside], np.int64)
