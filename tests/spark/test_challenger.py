"""The challenger that judges in the shadow follows its alias in a real registry, and harms nobody."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from core.errors import RegistryUnavailable
from core.sensors import DEFAULT_SENSORS
from models.registry.registry import CHALLENGER, CHAMPION, Registry, Version
from models.scoring.artefact import load
from models.training.train_steps import Training, fit, register
from spark_jobs.driver.challenger import Challenger
from tests.simulated import simulated


@dataclass
class Watched:
    """A challenger's watch, and what it is asked: the registry, which may be away, and who is champion."""

    registry: Registry
    champion: int | None = None
    away: bool = False

    def __post_init__(self) -> None:
        self.challenger = Challenger(self._open, lambda: self.champion)

    def _open(self) -> Registry:
        if self.away:
            raise RegistryUnavailable("MLflow is away")
        return self.registry

    def judges(self, spark: SparkSession) -> int | None:
        self.challenger.look()
        shadow = self.challenger.shadow(spark.sparkContext, 0.1)
        return None if shadow is None else shadow.version


@pytest.fixture(scope="module")
def trainings() -> list[Training]:
    return [fit(simulated(1, 400, 5), DEFAULT_SENSORS, trees=10, budget=1.0, seed=seed) for seed in (1, 2)]


@pytest.fixture
def watched(tmp_path: Path, trainings: list[Training]) -> Watched:
    """Version 1 is champion, 2 its challenger."""
    registry = Registry(f"sqlite:///{tmp_path}/mlflow/mlflow.db", "station-detector")
    for training, alias in zip(trainings, (CHAMPION, CHALLENGER), strict=True):
        register(registry, training, alias=alias)
    return Watched(registry, champion=1)


def tamper(registry: Registry, folder: Path, version: Version) -> None:
    file = next(folder.rglob(f"{version.run_id}/**/detector.zip"))
    data = file.read_bytes()
    file.write_bytes(data[:900] + bytes([data[900] ^ 1]) + data[901:])


def test_it_follows_the_alias_and_never_stands_beside_itself(
    spark: SparkSession, watched: Watched, trainings: list[Training]
) -> None:
    """Breaks when the shadow judges with another version than the alias names, or with the champion itself."""
    assert watched.challenger.shadow(spark.sparkContext, 0.1) is None, "nobody looked yet"
    assert watched.judges(spark) == 2
    shadow = watched.challenger.shadow(spark.sparkContext, 0.1)
    assert shadow is not None
    loaded = load(trainings[1].artefact, watched.registry.version(2).sha256)
    assert (shadow.detector.value, shadow.share) == (loaded.detector.to_bytes(), 0.1)
    again = watched.challenger.shadow(spark.sparkContext, 0.1)
    assert again is not None and again.detector is shadow.detector, "one broadcast, not one a batch"
    watched.challenger.restarted()
    anew = watched.challenger.shadow(spark.sparkContext, 0.1)
    assert anew is not None and anew.detector is not shadow.detector

    watched.champion = 2
    assert watched.judges(spark) is None, "promoted"
    watched.champion = 1
    assert watched.judges(spark) == 2
    watched.registry.drop_alias(CHALLENGER)
    assert watched.judges(spark) is None
    assert watched.challenger.shadow(spark.sparkContext, 0.0) is None


def test_a_tampered_challenger_is_none_and_mlflow_away_changes_nothing(
    spark: SparkSession, watched: Watched, trainings: list[Training], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Breaks when the version before goes on in the place of a refused one, or an outage ends the shadow."""
    assert watched.judges(spark) == 2
    watched.away = True
    with pytest.raises(RegistryUnavailable):
        watched.challenger.look()
    shadow = watched.challenger.shadow(spark.sparkContext, 0.1)
    assert shadow is not None and shadow.version == 2
    watched.away = False

    bad = register(watched.registry, trainings[0])
    tamper(watched.registry, tmp_path, bad)
    watched.registry.set_alias(CHALLENGER, bad)
    assert [watched.judges(spark) for _ in range(3)] == [None] * 3
    (said,) = [record.getMessage() for record in caplog.records if "is refused" in record.getMessage()]
    assert said.startswith("challenger 3 is refused") and "was not opened" in said, "told once, not every few seconds"
    watched.registry.set_alias(CHALLENGER, watched.registry.version(2))
    assert watched.judges(spark) == 2
