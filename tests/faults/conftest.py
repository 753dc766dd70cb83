"""Fixtures of the fault tests: a stream with small batches, the oracle's session, a history to train on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cassandra.cluster import Session

from core.settings import Settings
from local_stack.downloads.jars import spark_kafka_jars
from tests.oracle.job import clock_ms, write_history
from tests.oracle.tables import session_of


@pytest.fixture
def proof_settings(settings: Settings) -> Settings:
    """Small batches, so that there are many to be killed in, and small forests."""
    jars = ",".join(map(str, spark_kafka_jars(settings.cache)))
    return settings.model_copy(
        update={"spark_jars": jars, "forest_trees": 50, "max_offsets_per_trigger": 1500, "champion_poll_seconds": 1.0}
    )


@pytest.fixture
def session(proof_settings: Settings) -> Iterator[Session]:
    """The oracle's own door to Cassandra."""
    with session_of(proof_settings) as opened:
        yield opened


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """What both model versions are trained on."""
    path = tmp_path / "history.csv"
    write_history(path, clock_ms())
    return path
