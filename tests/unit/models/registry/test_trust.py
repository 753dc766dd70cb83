"""How little history makes the detector careful, and much of it sure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.sensors import Sensor
from models.kernels.columns import INNOVATION
from models.scoring.shard_state import Incoming, ShardState
from models.training.fit import fit_prior
from models.training.fit_prior import trust
from models.training.tail_limits import witness_tail
from tests.unit.models.histories import make_history

SENSORS = (Sensor("value", plausible=(-1e9, 1e9)),)


def raised(trusted: float, spikes: int) -> np.ndarray:
    """By what the innovation's limit is raised behind each of so many spikes, a hundred readings apart."""
    rng = np.random.default_rng(3)
    learning = make_history(np.random.default_rng(4), stations=5, readings=1000, sensors=1)
    prior = replace(fit_prior(learning, SENSORS, 1.0), trust=trusted)
    n = 500 + 100 * spikes
    values = rng.normal(size=(n, 1)) + 20.0
    at = 500 + 100 * np.arange(spikes)
    values[at] += 40.0
    time = 1_767_571_200_000 + 1000 * np.arange(n)
    blocks = ShardState(SENSORS, prior).take(Incoming(["s"] * n, time, time, np.arange(n), values)).blocks
    return blocks.witnesses("h")[at + 99, 0, INNOVATION]


def test_a_trusted_limit_outlives_an_episode_and_not_many() -> None:
    """Breaks when one fault blinds a station whose limits rest on much, or when false alarms never raise a limit."""
    h = raised(0.95, 6)
    assert h[0] == pytest.approx(1.0, abs=0.01)
    assert h[-1] > 2.0


def test_an_untrusted_limit_is_raised_at_once() -> None:
    """Breaks when limits from a short history are kept though the station passes them."""
    h = raised(0.0, 2)
    assert h[0] == pytest.approx(np.exp(0.6), rel=0.05)
    assert h[1] > h[0]


def test_trust_grows_with_history() -> None:
    """Breaks when a fifty-row history counts as much as a plant's week."""
    assert 0.0 == trust(0) < trust(50) < 0.01 < 0.9 < trust(100_000) < 1.0


def test_a_tail_is_wider_where_fewer_excursions_were_seen() -> None:
    """Breaks when readings of one long excursion count as so many independent ones."""
    values = np.abs(np.random.default_rng(5).normal(size=20_000))
    limits = [witness_tail(values, cluster).at(1e-5) for cluster in (1.0, 6.0, 60.0)]
    assert limits[0] < limits[1] < limits[2] < 2.0 * limits[0]
