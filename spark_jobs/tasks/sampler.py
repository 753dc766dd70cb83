"""Choose readings by a hash of their identity: the same ones under any load, order or replay."""

from __future__ import annotations

from zlib import crc32

import numpy as np
import pyarrow as pa

from models.kernels.state_kernel import identity_hashes


def reading_hashes(accepted: pa.Table) -> np.ndarray:
    """Hash each reading's identity.

    Args:
        accepted: of the state operator, with columns `station_id` (dictionary), `event_ms`, `seq`.

    Returns:
        (n,) uint64, evenly spread.
    """
    salts: list[np.ndarray] = [np.zeros(0, np.int64)]
    for chunk in accepted["station_id"].chunks:
        names = np.array([crc32(name.encode()) for name in chunk.dictionary.to_pylist()], np.int64)
        salts.append(names[chunk.indices.to_numpy()])
    salt = np.concatenate(salts)
    hashes = np.empty(len(salt), np.uint64)
    identity_hashes(accepted["event_ms"].to_numpy(), accepted["seq"].to_numpy() ^ (salt << 24), hashes)
    return hashes


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
        ordered = key[order].astype(np.int64)
        differs = ordered[1:] != ordered[:-1]
        last[:-1] = differs if key is keys[0] else last[:-1] | differs
    return order[last]
