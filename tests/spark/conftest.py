"""One small Spark session for all tests of this folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from spark_jobs.driver.spark_session import COMMON, LOADED_DAEMON, LOCAL


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """A session as the stream opens it, without Kafka."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    conf = {**COMMON, **LOCAL, **LOADED_DAEMON, "spark.sql.shuffle.partitions": "2", "spark.driver.memory": "512m"}
    builder = SparkSession.builder.master("local[2]")
    for name, value in conf.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    yield session
    session.stop()
