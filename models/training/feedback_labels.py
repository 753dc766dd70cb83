"""What people said of anomalies, with the anomalies' blocks: what a training learns exemptions from."""

from __future__ import annotations

import numpy as np

from core.errors import ArtefactRefused
from models.scoring.feature_block import Blocks, block_width, unpack_rows
from models.training.feedback_exemptions import Labels
from storage.driver.session import Store
from storage.tables.anomalies import anomalies_of
from storage.tables.feedback import feedback_between

DAYS = 90
"""How long feedback is remembered: a plant changes, and what was benign once need not stay so."""


def read_labels(store: Store, sensors: tuple[str, ...], end_ms: int) -> Labels:
    """Read what was said of the anomalies of the last 90 days; anomalies of another release are left out.

    Args:
        store: where.
        sensors: names in the catalogue's order, which is that of the blocks.
        end_ms: ms since the epoch.

    Raises:
        StoreUnavailable: Cassandra is away.
    """
    said = {row[:3]: row.verdict for row in feedback_between(store, end_ms - DAYS * 86_400_000, end_ms)}
    found, rows = [], []
    for anomaly in anomalies_of(store, said):
        try:
            rows.append(unpack_rows([anomaly.block or b""], sensors).rows)
        except ArtefactRefused:
            continue
        found.append(anomaly)
    table = np.concatenate(rows) if rows else np.zeros((0, block_width(len(sensors))), np.float32)
    return Labels(
        [row.station_id for row in found],
        np.array([row.event_ms for row in found], np.int64),
        [said[row[:3]] for row in found],
        np.array([row.flags for row in found], np.int32),
        Blocks(sensors, table),
    )
