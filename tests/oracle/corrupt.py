"""C10: harm done to the real tables on purpose, which the checks must notice. Each harm can be undone, but the last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from cassandra.cluster import Session
from kafka import KafkaProducer

from core.settings import Settings
from tests.oracle.tables import TIMEOUT_SECONDS

Kind = Literal["deleted row", "doubled row", "changed score", "moved to the dead letters"]
KINDS: tuple[Kind, ...] = ("deleted row", "doubled row", "changed score", "moved to the dead letters")
NOTICED_BY: dict[Kind, tuple[str, ...]] = {
    "deleted row": ("C4",),
    "doubled row": ("C4",),
    "changed score": ("C8",),
    "moved to the dead letters": ("C4", "C5"),
}
OTHER_SEQ = 1_000_000_007
Undo = Callable[[], None]


def corrupt(session: Session, settings: Settings, kind: Kind) -> Undo:
    """Harm one row of `readings`, and return what puts it right again.

    Args:
        session: the oracle's own.
        settings: name the keyspace, the topics and the brokers.
        kind: one of `KINDS`; of the last one only the table is put right, Kafka keeps the letter.
    """
    table = f"{settings.cassandra_keyspace}.readings"
    row = dict(session.execute(f"SELECT * FROM {table} LIMIT 1").one())  # noqa: S608
    if kind == "doubled row":
        doubled = {**row, "seq": row["seq"] + OTHER_SEQ}
        _insert(session, table, doubled)
        return lambda: _delete(session, table, doubled)
    if kind == "changed score":
        _insert(session, table, {**row, "score": row["score"] + 0.001})
        return lambda: _insert(session, table, row)
    _delete(session, table, row)
    if kind == "moved to the dead letters":
        _send_letter(settings, row)
    return lambda: _insert(session, table, row)


def _insert(session: Session, table: str, row: dict[str, object]) -> None:
    names = ", ".join(row)
    marks = ", ".join("?" for _ in row)
    prepared = session.prepare(f"INSERT INTO {table} ({names}) VALUES ({marks})")  # noqa: S608
    session.execute(prepared, list(row.values()), timeout=TIMEOUT_SECONDS)


def _delete(session: Session, table: str, row: dict[str, object]) -> None:
    keys = ("station_id", "bucket", "event_time", "seq")
    where = " AND ".join(f"{name} = ?" for name in keys)
    session.execute(session.prepare(f"DELETE FROM {table} WHERE {where}"), [row[name] for name in keys])  # noqa: S608


def _send_letter(settings: Settings, row: dict[str, object]) -> None:
    producer = KafkaProducer(**settings.kafka_client_options(), acks="all")
    key = f"{settings.readings_topic}-{row['kafka_partition']}-{row['kafka_offset']}"
    headers = [("topic", settings.readings_topic.encode()), ("reason", b"out_of_physics")]
    try:
        producer.send(settings.rejected_topic, key=key.encode(), value=b"{}", headers=headers).get(timeout=30)
    finally:
        producer.close(timeout=10)
