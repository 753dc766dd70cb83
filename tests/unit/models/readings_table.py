"""The insert statement of `readings` as Cassandra would prepare it."""

from __future__ import annotations

from cassandra import cqltypes
from cassandra.protocol import ColumnMetadata
from cassandra.query import PreparedStatement

TEXT_TO_DOUBLE = cqltypes.MapType.apply_parameters([cqltypes.VarcharType, cqltypes.DoubleType])
TYPES = {
    "station_id": cqltypes.VarcharType, "bucket": cqltypes.DateType, "event_time": cqltypes.DateType,
    "seq": cqltypes.LongType, "sensors": TEXT_TO_DOUBLE, "score": cqltypes.DoubleType, "severity": cqltypes.FloatType,
    "flags": cqltypes.Int32Type, "model_version": cqltypes.Int32Type, "kafka_partition": cqltypes.Int32Type,
    "kafka_offset": cqltypes.LongType, "record_time": cqltypes.DateType, "scored_time": cqltypes.DateType,
}  # fmt: skip


def prepared_readings() -> PreparedStatement:
    """Return it, with the partition key (station_id, bucket)."""
    columns = [ColumnMetadata("k", "readings", name, cql_type) for name, cql_type in TYPES.items()]
    return PreparedStatement(columns, b"id", [0, 1], "INSERT", "k", 4, None, None)
