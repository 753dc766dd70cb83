"""The challenger beside the champion: a sampled share of readings judged by both. It raises and flags nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
from pyspark import Broadcast

from core.errors import StationwatchError
from core.verdict import Flag
from models.kernels.state_kernel import MINUTE_MS
from spark_jobs.tasks.judged import Judged, Sinks, detector_of
from spark_jobs.tasks.sampler import accepted_hashes, rows_of_share, slots_and_ranks, winners
from storage.driver.session import connected
from storage.tables.shadow_samples import ShadowRow, write_shadow

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
        hashes = accepted_hashes(accepted)
        chosen = rows_of_share(hashes, self.share)
        chosen = chosen[judged.versions[chosen] != self.version]
        if not len(chosen):
            return
        slot, rank = slots_and_ranks(hashes, SLOTS)
        event_ms = accepted["event_ms"].to_numpy()
        chosen = chosen[winners(rank[chosen], judged.versions[chosen], event_ms[chosen] // MINUTE_MS, slot[chosen])]
        stations = accepted["station_id"].take(pa.array(chosen)).to_pylist()
        theirs = detector_of(self.version, self.detector).judge(judged.output.blocks.take(chosen), stations)
        ours = (judged.verdicts.flags[chosen] & Flag.ANOMALY) != 0
        seqs = accepted["seq"].to_numpy()
        for place, row in enumerate(chosen.tolist()):
            was, would = bool(ours[place]), bool(theirs.is_anomaly[place])
            yield ShadowRow(
                self.version, int(judged.versions[row]), int(event_ms[row]), int(slot[row]), int(rank[row]),
                stations[place], int(seqs[row]), float(judged.verdicts.score[row]), float(theirs.score[place]),
                would and not was, was and not would,
            )  # fmt: skip
