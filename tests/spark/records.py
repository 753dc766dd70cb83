"""Builders of Kafka records and of the stream over a folder of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from pyspark.sql import DataFrame, SparkSession

NOON = int(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp() * 1000)


@dataclass
class Topic:
    """A growing topic of one partition, written as Parquet files that a stream reads in order."""

    folder: Path
    offset: int = 0

    def add(self, *values: tuple[str, bytes], record_ms: int = NOON) -> None:
        """Append records `(key, value)` as one file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        rows = [
            {"partition": 0, "offset": self.offset + n, "record_ms": record_ms, "key": key.encode(), "value": value}
            for n, (key, value) in enumerate(values)
        ]
        self.offset += len(rows)
        frame = pd.DataFrame(rows).astype({"partition": "int32", "offset": "int64", "record_ms": "int64"})
        frame.to_parquet(self.folder / f"{self.offset:08d}.parquet", index=False)

    def read(self, spark: SparkSession) -> DataFrame:
        """Return the records as the Kafka source would give them."""
        schema = "partition int, offset long, record_ms long, key binary, value binary"
        return spark.readStream.schema(schema).option("maxFilesPerTrigger", 1000).parquet(str(self.folder))


def reading(station: str = "s1", second: int = 0, seq: int | None = None, **values: float | None) -> tuple[str, bytes]:
    """Build a valid record of a station, `second` seconds after noon."""
    time = datetime.fromtimestamp(NOON / 1000 + second, UTC).isoformat().replace("+00:00", "Z")
    document = {
        "schema_version": 1,
        "station_id": station,
        "event_time": time,
        "seq": second if seq is None else seq,
        "temperature": 21.0,
        "humidity": 48.0,
        "noise": 61.0,
        **values,
    }
    return station, json.dumps(document).encode()
