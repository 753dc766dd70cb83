"""State that an earlier release wrote: read whole, or refused with the way out. Never misread."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.errors import StateRefused
from core.sensors import DEFAULT_SENSORS
from models.scoring.shard_state import LAYOUT, Incoming, ShardState
from tests.paths import DATA
from tests.unit.models.scoring.test_shard_state import NOON, PRIOR

WRITTEN = sorted(DATA.glob("state-layout-*.bin"))
STATIONS = ["station-0001", "station-0002", "x"]
# Each shard took 300 readings of three stations, one a second from NOON on.
READINGS = 300


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_state_of_a_release_is_read_or_refused(path: Path) -> None:
    """Breaks when the layout changed and its number did not: a running stream would misread its checkpoint."""
    layout, data = int(path.stem.rpartition("-")[2]), path.read_bytes()
    if layout != LAYOUT:
        with pytest.raises(StateRefused, match="start a fresh checkpoint: it replays the topic"):
            ShardState.from_bytes(data, DEFAULT_SENSORS, PRIOR)
        return
    shard = ShardState.from_bytes(data, DEFAULT_SENSORS, PRIOR)
    assert shard.ids == STATIONS
    assert shard.to_bytes() == data
    at = np.full(3, NOON + 1000 * READINGS)
    step = shard.take(Incoming(STATIONS, at, at, np.arange(900, 903), np.full((3, 3), 20.0)))
    assert step.ordinal.tolist() == [READINGS + 1] * 3
    assert not step.late.any()
    assert (np.abs(step.blocks.witnesses("ratio")) < 1.0).all(), "what it had learnt still fits an ordinary reading"
    spiked = shard.take(Incoming(STATIONS, at + 1000, at + 1000, np.arange(903, 906), np.full((3, 3), 60.0)))
    assert (np.abs(spiked.blocks.witnesses("ratio")).max(axis=(1, 2)) > 1.0).all(), "and does not fit a spike"


def test_there_is_something_to_read() -> None:
    """Breaks when the fixtures are gone, and with them the check."""
    assert WRITTEN
