"""Two keyspaces that were fed by the same topic: they must hold the same, row by row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cassandra.cluster import Session

from tests.oracle.tables import Row, few, scan

WRITE_TIMES = frozenset({"scored_time", "stored_time"})
KEYS: dict[str, tuple[str, ...]] = {
    "readings": ("station_id", "bucket", "event_time", "seq"),
    "anomalies_by_time": ("hour", "slot", "event_time", "station_id", "seq"),
    "anomalies_by_station": ("station_id", "day", "event_time", "seq"),
    "anomaly_feed": ("append_hour", "kafka_partition", "kafka_offset"),
    "anomaly_hours": ("year", "hour", "slot"),
    "station_minutes": ("station_id", "day", "minute"),
    "stations": ("slot", "station_id"),
    "feature_samples": ("hour", "minute", "slot"),
}


def equal_keyspaces(session: Session, one: str, other: str, tables: Iterable[str] = tuple(KEYS)) -> list[str]:
    """Say where two keyspaces differ, the times of writing apart; nothing when they are equal.

    Args:
        session: the oracle's own.
        one: a keyspace.
        other: the one it is compared with.
        tables: of `KEYS`; `stations` is equal only after a final flush of both streams.
    """
    problems: list[str] = []
    for table in tables:
        problems += equal_rows(table, scan(session, one, table), scan(session, other, table))
    return problems


def equal_rows(table: str, one: Sequence[Row], other: Sequence[Row]) -> list[str]:
    """Say where two scans of a table differ."""
    left, right = _keyed(table, one), _keyed(table, other)
    problems = few(f"{table}: only in the first", left.keys() - right.keys())
    problems += few(f"{table}: only in the second", right.keys() - left.keys())
    differing = (
        (
            key,
            {
                name: (left[key][name], right[key][name])
                for name in left[key]
                if repr(left[key][name]) != repr(right[key][name])
            },
        )
        for key in left.keys() & right.keys()
    )
    return problems + few(f"{table}: rows differ", [found for found in differing if found[1]])


def _keyed(table: str, rows: Sequence[Row]) -> dict[tuple[object, ...], Row]:
    """Rows by primary key, without the columns that may differ. Compared by repr, so that NaN equals NaN."""
    return {
        tuple(str(row[name]) for name in KEYS[table]): {
            name: _ordered(value) for name, value in row.items() if name not in WRITE_TIMES
        }
        for row in rows
    }


def _ordered(value: object) -> object:
    return sorted(value.items()) if isinstance(value, dict) else value
