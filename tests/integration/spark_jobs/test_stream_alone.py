"""The stream's judging while MLflow is away, and when the champion there cannot be used."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from core.errors import RegistryUnavailable
from core.sensors import DEFAULT_SENSORS
from models.registry.registry import CHALLENGER, CHAMPION, Registry
from models.registry.registry_mirror import mirror
from models.scoring import artefact
from models.scoring.artefact import load
from models.scoring.detector import Detector
from models.training.train_steps import Training, fit, register
from spark_jobs.driver.model_switch import Judging, watch_champion
from storage.driver.session import Store, StoreConfig, connect
from storage.tables import artefacts, stream_progress
from storage.tables.model_events import events
from tests.keyspaces import Keyspaces
from tests.simulated import simulated
from tests.waiting import wait_until

TOPIC, NAME = "readings", "station-detector"


@pytest.fixture(scope="module")
def training() -> Training:
    return fit(simulated(1, 400, 5), DEFAULT_SENSORS, trees=10, budget=1.0, seed=1)


@pytest.fixture
def store(keyspaces: Keyspaces) -> Iterator[Store]:
    with keyspaces.lent() as settings, closing(connect(StoreConfig.from_settings(settings))) as opened:
        yield opened


def away() -> Registry:
    raise RegistryUnavailable("MLflow is away")


def never(error: Exception) -> None:
    raise AssertionError(f"it waits for a model: {error}")


def test_a_stream_that_judged_before_starts_without_mlflow(store: Store, training: Training, tmp_path: Path) -> None:
    """Breaks when a start needs MLflow although Cassandra holds all that judges; or a bad champion is taken."""
    registry = Registry(f"sqlite:///{tmp_path}/mlflow/mlflow.db", NAME)
    first = register(registry, training, alias=CHAMPION)
    judging = Judging(store, lambda: registry, topic=TOPIC, model_name=NAME)
    judging.identify(DEFAULT_SENSORS, 4, 1.0, never)
    stream_progress.activate(store, TOPIC, {0: 0}, first.number, 1)

    alone = Judging(store, away, topic=TOPIC, model_name=NAME)
    assert alone.identify(DEFAULT_SENSORS, 4, 1.0, never).sha256 == training.prior.sha256
    assert len(Detector.from_bytes(alone._stored_detector(first.number)).forest.feature_names) > 5
    with pytest.raises(RegistryUnavailable):
        alone.look(lambda version, error: None)

    bad = register(registry, training)
    file = next(tmp_path.rglob(f"{bad.run_id}/**/detector.zip"))
    data = file.read_bytes()
    file.write_bytes(data[:900] + bytes([data[900] ^ 1]) + data[901:])
    registry.set_alias(CHAMPION, bad)
    refused: list[int] = []
    again = Judging(store, lambda: registry, topic=TOPIC, model_name=NAME)
    for _ in range(2):
        again.look(lambda version, error: refused.append(version))
    assert refused == [bad.number], "told once, not every few seconds"
    assert again._candidate is None
    (event,) = events(store, NAME)
    assert (event.kind, event.model_version) == ("refused", bad.number)
    assert "goes on with 1" in event.reason and "was not opened" in event.reason


def test_a_promotion_is_looked_for_when_the_retrainer_tells_of_it(
    store: Store, training: Training, tmp_path: Path
) -> None:
    """Breaks when a promotion waits for the next look at MLflow, or what is told is looked up again and again."""
    registry = Registry(f"sqlite:///{tmp_path}/mlflow/mlflow.db", NAME)
    first = register(registry, training, alias=CHAMPION)
    mirror(registry, store, 1)
    judging = Judging(store, lambda: registry, topic=TOPIC, model_name=NAME)
    judging.identify(DEFAULT_SENSORS, 4, 1.0, never)
    stream_progress.activate(store, TOPIC, {0: 0}, first.number, 1)
    judging = Judging(store, lambda: registry, topic=TOPIC, model_name=NAME)
    assert not judging.told(), "it judges already"
    second = register(registry, training, alias=CHAMPION)
    assert not judging.told(), "moved past the retrainer: only MLflow knows"
    mirror(registry, store, 2)
    assert [judging.told() for _ in range(2)] == [True, False]

    stop = threading.Event()
    judging = Judging(store, lambda: registry, topic=TOPIC, model_name=NAME)
    watch = threading.Thread(target=watch_champion, args=(judging, 600.0, stop, lambda version, error: None))
    watch.start()
    try:
        wait_until(lambda: judging._candidate is not None, "the promoted version is found")
    finally:
        stop.set()
        watch.join()
    assert judging._candidate is not None and judging._candidate.version == second.number


def test_a_version_that_was_opened_is_not_opened_again(
    store: Store, training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks when a promotion of the challenger, or a rollback, waits for a thousand trees; or hashes are not asked."""
    registry = Registry(f"sqlite:///{tmp_path}/mlflow/mlflow.db", NAME)
    first = register(registry, training, alias=CHAMPION)
    other = fit(simulated(1, 400, 5), DEFAULT_SENSORS, trees=10, budget=1.0, seed=2)
    second = register(registry, other, alias=CHALLENGER)
    judging = Judging(store, lambda: registry, topic=TOPIC, model_name=NAME)
    judging.identify(DEFAULT_SENSORS, 4, 1.0, never)
    stream_progress.activate(store, TOPIC, {0: 0}, first.number, 1)
    judging._read()
    judging.challenger.look()

    def opened(data: bytes, sha256: str) -> None:
        raise AssertionError("opened again")

    monkeypatch.setattr(artefact, "load", opened)
    registry.set_alias(CHAMPION, second)
    judging.look(lambda version, error: None)
    waits = judging._candidate
    assert waits is not None and waits.version == second.number
    assert artefacts.get_artefact(store, second.sha256)[1] == other.artefact
    monkeypatch.undo()
    assert waits.detector == load(other.artefact, second.sha256).detector.to_bytes()
