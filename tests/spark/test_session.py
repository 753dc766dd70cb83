"""The session's settings are settings that this Spark knows, and reach the JVM and the workers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from spark_jobs.driver.spark_session import COMMON, LOCAL, LOCAL_JAVA, MALLOC
from tests.paths import ROOT

SQL = sorted(key for key in {**COMMON, **LOCAL} if key.startswith("spark.sql."))
# Read by the state store itself, not declared among the settings of SQL.
STATE_STORE = "spark.sql.streaming.stateStore.rocksdb."


@pytest.mark.parametrize("key", [key for key in SQL if not key.startswith(STATE_STORE)])
def test_spark_knows_the_setting(spark: SparkSession, key: str) -> None:
    """Breaks when a name is misspelt or a release of Spark renames it: what it does not know it takes in silence."""
    assert spark._jvm is not None
    # py4j's way to a companion object of Scala.
    declared = getattr(getattr(spark._jvm.org.apache.spark.sql.internal, "SQLConf$"), "MODULE$")
    assert declared.containsConfigKey(key)


def test_large_packed_rows_arrive_in_several_batches(spark: SparkSession) -> None:
    """Breaks when a task's packed rows travel as one Arrow buffer of any size again, or one of them is lost."""
    rows = 6

    def counted(batches: object) -> object:
        sizes = [batch.num_rows for batch in batches]  # type: ignore[attr-defined]
        yield pa.RecordBatch.from_pydict({"batches": [len(sizes)], "rows": [sum(sizes)]})

    packed = spark.range(0, rows, 1, 1).selectExpr("repeat('x', 3000000) AS block")
    (found,) = packed.mapInArrow(counted, "batches long, rows long").collect()  # type: ignore[arg-type]
    assert found["rows"] == rows
    assert found["batches"] >= 3


def test_malloc_and_the_collector_are_set_where_the_stream_starts_java(tmp_path: Path) -> None:
    """Breaks when the JVM or a worker runs with other malloc thresholds or heap regions than were measured."""
    script = tmp_path / "opened.py"
    script.write_text("""
import os
from spark_jobs.driver.spark_session import stream_session
spark = stream_session(master="local[1]", driver_memory="512m", jars="", shuffle_partitions=1, local_checkpoint=True)
seen = spark.sparkContext.parallelize([0], 1).map(lambda _: dict(os.environ)).first()
java = spark._jvm.java.lang.System.getenv()
options = spark._jvm.java.lang.management.ManagementFactory.getRuntimeMXBean().getInputArguments()
print("FOUND", {key: (seen.get(key), java.get(key)) for key in seen if key.startswith("MALLOC")}, list(options))
spark.stop()
""")
    ran = subprocess.run(  # noqa: S603
        [sys.executable, str(script)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    found = next((line for line in ran.stdout.splitlines() if line.startswith("FOUND")), ran.stderr[-2000:])
    for name, value in MALLOC.items():
        assert f"'{name}': ('{value}', '{value}')" in found
    for option in LOCAL_JAVA.split():
        assert f"'{option}'" in found
