"""Choose readings by a hash of their identity: the same ones under any load, order or replay."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import numpy as np
import pyarrow as pa

from models.kernels.state_kernel import identity_hashes


def reading_hashes(
    station_ids: Sequence[str], station: np.ndarray, event_ms: np.ndarray, seq: np.ndarray
) -> np.ndarray:
    """Hash each reading's identity.

    Args:
        station_ids: names.
        station: (n,) place of each reading's station in `station_ids`.
        event_ms: (n,) int64, ms since the epoch.
        seq: (n,) int64.

    Returns:
        (n,) uint64, evenly spread.
    """
    salts = np.array([crc32(name.encode()) for name in station_ids], np.int64)
    hashes = np.empty(len(station), np.uint64)
    if len(hashes):
        identity_hashes(event_ms, seq ^ (salts[station] << 24), hashes)
    return hashes


def accepted_hashes(accepted: pa.Table) -> np.ndarray:
    """Hash the identities of the state operator's accepted readings, (n,) uint64."""
    station = accepted["station_id"].combine_chunks()
    event_ms, seq = accepted["event_ms"].to_numpy(), accepted["seq"].to_numpy()
    return reading_hashes(station.dictionary.to_pylist(), station.indices.to_numpy(), event_ms, seq)


def rows_of_share(hashes: np.ndarray, share: float) -> np.ndarray:
    """Return the rows of the readings that belong to a share in [0, 1] of all readings."""
    return np.flatnonzero((hashes >> np.uint64(32)).astype(np.float64) < share * 2.0**32)


def slots_and_ranks(hashes: np.ndarray, slots: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the slot of each reading, 0..slots-1, and its rank among the contenders for it, 1..2**63-1."""
    return hashes % np.uint64(slots), (hashes >> np.uint64(1)) | np.uint64(1)


def winners(rank: np.ndarray, *keys: np.ndarray) -> np.ndarray:
    """Return the row of the largest rank of each combination of keys, ordered by the keys, the first one first."""
    order = np.lexsort((rank, *reversed(keys)))
    last = np.ones(len(order), bool)
    for key in keys:
        ordered = key[order]
        differs = ordered[1:] != ordered[:-1]
        last[:-1] = differs if key is keys[0] else last[:-1] | differs
    return order[last]
