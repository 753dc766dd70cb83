"""The challenger beside the champion: a sampled share of readings judged by both. It raises and flags nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np
import pyarrow as pa
from pyspark import Broadcast

from core.errors import StationwatchError
from core.verdict import Flag
from models.kernels.state_kernel import MINUTE_MS, identity_hashes
from models.scoring.detector import Detector
from storage.driver.session import connected
from storage.tables.shadow_samples import ShadowRow, write_shadow

if TYPE_CHECKING:
    from spark_jobs.tasks.scoring_stage import Judged, Sinks

SLOTS = 32  # of a minute
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shadow:
    """A challenger for the tasks of one batch. Picklable.

    Args:
        version: its number.
        detector: broadcast `Detector.to_bytes()`.
        share: of readings that it judges, in [0, 1], chosen by a hash of their identity.
    """

    version: int
    detector: Broadcast[bytes]
    share: float

    def run(self, judged: Judged, sinks: Sinks) -> None:
        """Judge the chosen readings of a task and write how they compare. A challenger that fails costs only itself.

        Raises:
            StoreUnavailable: Cassandra was away longer than the deadline; the batch runs again.
        """
        try:
            rows = list(self.rows(judged))
        except (StationwatchError, ValueError) as error:
            log.warning("challenger %d cannot judge: %s", self.version, error)
            return
        if rows:
            store = connected(sinks.store, sinks.deadline_seconds)
            write_shadow(store, rows, sinks.deadline_seconds)

    def rows(self, judged: Judged) -> Iterator[ShadowRow]:
        """Yield the winner of each slot of each minute, for each version that judged as champion."""
        accepted = judged.output.accepted
        hashes = _hashes(accepted)
        chosen = np.flatnonzero((hashes >> np.uint64(32)).astype(np.float64) < self.share * 2.0**32)
        chosen = chosen[judged.versions[chosen] != self.version]
        if not len(chosen):
            return
        slot, rank = hashes % np.uint64(SLOTS), (hashes >> np.uint64(1)) | np.uint64(1)
        event_ms = accepted["event_ms"].to_numpy()
        chosen = chosen[_winners(judged.versions[chosen], event_ms[chosen] // MINUTE_MS, slot[chosen], rank[chosen])]
        stations = accepted["station_id"].take(pa.array(chosen)).to_pylist()
        theirs = _detector(self.version, self.detector).judge(judged.output.blocks.take(chosen), stations)
        ours = (judged.verdicts.flags[chosen] & Flag.ANOMALY) != 0
        seqs = accepted["seq"].to_numpy()
        for place, row in enumerate(chosen.tolist()):
            was, would = bool(ours[place]), bool(theirs.is_anomaly[place])
            yield ShadowRow(
                self.version, int(judged.versions[row]), int(event_ms[row]), int(slot[row]), int(rank[row]),
                stations[place], int(seqs[row]), float(judged.verdicts.score[row]), float(theirs.score[place]),
                would and not was, was and not would,
            )  # fmt: skip


def _winners(versions: np.ndarray, minute: np.ndarray, slot: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """Return the places of the largest rank of each version, minute and slot."""
    order = np.lexsort((rank, slot, minute, versions))
    key = np.stack([versions[order], minute[order], slot[order].astype(np.int64)])
    last = np.append((key[:, 1:] != key[:, :-1]).any(axis=0), True)
    return np.sort(order[last])


def _hashes(accepted: pa.Table) -> np.ndarray:
    """Hash each reading's identity, (n,) uint64."""
    salts: list[np.ndarray] = []
    for chunk in accepted["station_id"].chunks:
        names = np.array([crc32(name.encode()) for name in chunk.dictionary.to_pylist()], np.int64)
        salts.append(names[chunk.indices.to_numpy()])
    salt = np.concatenate(salts) if salts else np.zeros(0, np.int64)
    out = np.empty(len(salt), np.uint64)
    identity_hashes(accepted["event_ms"].to_numpy(), accepted["seq"].to_numpy() ^ (salt << 24), out)
    return out


_held: tuple[int, int, Detector] | None = None


def _detector(version: int, broadcast: Broadcast[bytes]) -> Detector:
    """Return the challenger, unpacked once per worker process."""
    global _held
    data = broadcast.value
    if _held is None or _held[:2] != (version, hash(data)):
        _held = version, hash(data), Detector.from_bytes(data)
    return _held[2]
