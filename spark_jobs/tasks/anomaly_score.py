"""The champion as a plain pandas UDF, for SQL and notebooks: readings judged without their station's context."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import SparkSession
from pyspark.sql.pandas.functions import pandas_udf

from core.sensors import Sensor
from models.scoring.artefact import LoadedArtefact
from models.scoring.detector import Detector
from models.scoring.feature_block import Blocks
from models.scoring.shard_state import Incoming, ShardState
from models.scoring.station_prior import Prior

RETURNS = "score double, is_anomaly boolean, severity float"


def champion_udf(spark: SparkSession, champion: LoadedArtefact, sensors: tuple[Sensor, ...]) -> Callable[..., Any]:
    """Return a pandas UDF over one column per sensor, in the catalogue's order and units; null is missing.

    Each row counts as the first reading of an unknown station, so the version's reference stands in for the context.
    Not for: judging a station's series; that is what the stream and `models.backtest` do.

    Args:
        spark: the session that broadcasts the model.
        champion: a verified artefact, see `models.scoring.artefact.load`.
        sensors: the catalogue whose columns will be given.

    Example: `spark.udf.register("judge", champion_udf(spark, champion, sensors))`, then
        `SELECT judge(temperature, humidity, noise).score FROM readings`.
    """
    model = spark.sparkContext.broadcast((champion.detector.to_bytes(), champion.prior.to_bytes()))

    @pandas_udf(RETURNS)  # type: ignore[call-overload]
    def judge(*columns: pd.Series) -> pd.DataFrame:
        detector, prior = Detector.from_bytes(model.value[0]), Prior.from_bytes(model.value[1])
        values = np.column_stack([column.to_numpy(np.float64, na_value=np.nan) for column in columns])
        verdicts = detector.judge(without_context(values, sensors, prior))
        return pd.DataFrame({"score": verdicts.score, "is_anomaly": verdicts.is_anomaly, "severity": verdicts.severity})

    return judge


def without_context(values: np.ndarray, sensors: tuple[Sensor, ...], prior: Prior) -> Blocks:
    """Return the blocks of readings that each come from a station never seen before.

    Args:
        values: (n, n_sensors) float64 in the sensors' units, NaN where missing.
        sensors: the catalogue.
        prior: what is expected of a new station.
    """
    n = len(values)
    nothing = np.zeros(n, np.int64)
    incoming = Incoming([str(row) for row in range(n)], nothing, nothing, nothing, values)
    return ShardState(sensors, prior).take(incoming).blocks
