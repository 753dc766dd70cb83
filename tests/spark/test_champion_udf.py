"""The champion as a pandas UDF in SQL gives what the detector gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pyspark.sql import SparkSession
from sklearn.ensemble import IsolationForest

from core.sensors import DEFAULT_SENSORS
from models.kernels.columns import N_WITNESSES
from models.scoring.artefact import LoadedArtefact
from models.scoring.detector import Detector, Spec
from models.scoring.features import FEATURES
from models.scoring.isolation_forest import PackedForest
from models.scoring.station_prior import neutral_prior
from spark_jobs.tasks.anomaly_score import champion_udf, without_context

NAMES = tuple(sensor.name for sensor in DEFAULT_SENSORS)
ROWS = [(21.0, 48.0, 61.0), (90.0, 48.0, 61.0), (None, 48.0, 61.0)]


def champion() -> LoadedArtefact:
    rows = np.abs(np.random.default_rng(5).normal(size=(500, len(FEATURES))))
    packed = PackedForest.from_sklearn(IsolationForest(n_estimators=20, random_state=5).fit(rows), FEATURES)
    spec = Spec(NAMES, (21.0, 48.0, 61.0), (2.0, 5.0, 5.0), 0.4, 0.7, 1.0)
    prior = replace(neutral_prior(NAMES), spread=np.ones((3, N_WITNESSES)), floor=np.full(3, 0.01))
    return LoadedArtefact(Detector(spec, packed), prior, "0" * 64)


def test_sql_gives_the_detectors_scores(spark: SparkSession) -> None:
    """Breaks when columns are mixed up, nulls are not missing values, or a rule is lost on the way."""
    loaded = champion()
    spark.udf.register("judge", champion_udf(spark, loaded, DEFAULT_SENSORS))
    spark.createDataFrame(ROWS, "temperature double, humidity double, noise double").createOrReplaceTempView("readings")
    told = spark.sql("SELECT judge(temperature, humidity, noise) AS said FROM readings").collect()
    values = np.array([[np.nan if value is None else value for value in row] for row in ROWS])
    expected = loaded.detector.judge(without_context(values, DEFAULT_SENSORS, loaded.prior))
    assert [row["said"]["score"] for row in told] == expected.score.tolist()
    assert [row["said"]["is_anomaly"] for row in told] == [False, True, False]
