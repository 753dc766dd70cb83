"""Rows are bound to exactly the bytes the driver would send."""

from __future__ import annotations

import struct

import pytest
from cassandra import cqltypes
from cassandra.protocol import ColumnMetadata
from cassandra.query import PreparedStatement
from hypothesis import given
from hypothesis import strategies as st

from storage.driver.cql_encoding import binder

TEXT_TO_DOUBLE = cqltypes.MapType.apply_parameters([cqltypes.VarcharType, cqltypes.DoubleType])
MINUTE = cqltypes.UserType.make_udt_class(
    "k", "sensor_minute", ("minimum", "mean", "readings"), (cqltypes.FloatType, cqltypes.DoubleType, cqltypes.Int32Type)
)
MINUTES = cqltypes.MapType.apply_parameters([cqltypes.VarcharType, MINUTE])
OPEN_MINUTES = cqltypes.MapType.apply_parameters([cqltypes.DateType, MINUTES])
TYPES = {
    "station_id": cqltypes.VarcharType,
    "event_time": cqltypes.DateType,
    "seq": cqltypes.LongType,
    "sensors": TEXT_TO_DOUBLE,
    "score": cqltypes.DoubleType,
    "severity": cqltypes.FloatType,
    "flags": cqltypes.Int32Type,
    "day": cqltypes.SimpleDateType,
    "block": cqltypes.BytesType,
    "open_minutes": OPEN_MINUTES,
}
LONGS = st.integers(-(2**63), 2**63 - 1)
DOUBLES = st.floats(allow_nan=False)
ROWS = st.tuples(
    st.none() | st.text(max_size=20),
    LONGS,
    LONGS,
    st.none() | st.dictionaries(st.text(max_size=5), DOUBLES, max_size=4),
    st.none() | DOUBLES,
    st.floats(width=32, allow_nan=False),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(0, 2**32 - 1),
    st.none() | st.binary(max_size=40),
    st.none()
    | st.dictionaries(
        LONGS,
        st.dictionaries(
            st.text(max_size=5),
            st.tuples(
                st.none() | st.floats(width=32, allow_nan=False),
                st.none() | DOUBLES,
                st.none() | st.integers(-(2**31), 2**31 - 1),
            ),
            max_size=3,
        ),
        max_size=3,
    ),
)


def prepared() -> PreparedStatement:
    columns = [ColumnMetadata("k", "t", name, cql_type) for name, cql_type in TYPES.items()]
    return PreparedStatement(columns, b"id", [0], "INSERT", "k", 4, None, None)


@given(ROWS)
def test_bytes_equal_those_of_the_driver(row: tuple[object, ...]) -> None:
    """Breaks when a type is packed otherwise than Cassandra reads it: rows would hold other values than were judged."""
    statement = prepared()
    assert binder(statement)(row).values == statement.bind(row).values


def test_a_wrong_value_is_refused_with_the_name_of_its_column() -> None:
    """Breaks when a value of another type is written as some bytes or other."""
    row = ["station", 0, 1, {}, 0.5, 0.5, "one", 0, b"", {}]
    with pytest.raises(TypeError, match="flags"):
        binder(prepared())(row)


def test_a_row_of_another_length_is_refused() -> None:
    """Breaks when a missing column is silently left unset."""
    with pytest.raises(ValueError):
        binder(prepared())(("station", 0))


def test_numbers_beyond_their_column_are_refused() -> None:
    """Breaks when an overflowing number wraps around."""
    row = ["station", 2**63, 1, {}, 0.5, 0.5, 1, 0, b"", {}]
    with pytest.raises((TypeError, struct.error, OverflowError)):
        binder(prepared())(row)
