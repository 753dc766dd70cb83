"""All count checks at once, over what Kafka and Cassandra really hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cassandra.cluster import Session

from core.settings import Settings
from tests.oracle import checks
from tests.oracle.kafka_log import end_offsets, read_topic
from tests.oracle.ledger import Ledger
from tests.oracle.recompute import Judging, c6_anomalies, c8_scores, recompute
from tests.oracle.stations import Expected, TopicRow, expect
from tests.oracle.tables import Row, scan

SCANNED = (
    "readings", "anomalies_by_time", "anomalies_by_station", "anomaly_feed", "anomaly_hours", "station_minutes",
    "stations", "stream_progress",
)  # fmt: skip


@dataclass(frozen=True)
class Evidence:
    """Everything that was read back of one keyspace.

    Args:
        settings: of the stream that wrote it.
        topic: entries of the readings topic.
        ends: Kafka partition → end offset.
        expected: the oracle's decisions on `topic`.
        rejected: entries of the dead-letter topic.
        tables: name → rows.
    """

    settings: Settings
    topic: Sequence[TopicRow]
    ends: Mapping[int, int]
    expected: Expected
    rejected: Sequence[TopicRow]
    tables: Mapping[str, Sequence[Row]]


def gather(session: Session, settings: Settings) -> Evidence:
    """Read topics and tables back."""
    topic = read_topic(settings.kafka_client_options(), settings.readings_topic)
    return Evidence(
        settings=settings,
        topic=topic,
        ends=end_offsets(settings.kafka_client_options(), settings.readings_topic),
        expected=expect(topic, settings.sensors),
        rejected=read_topic(settings.kafka_client_options(), settings.rejected_topic),
        tables={table: scan(session, settings.cassandra_keyspace, table) for table in SCANNED},
    )


def violations(evidence: Evidence, ledger: Ledger, judging: Judging, api: str | None = None) -> list[str]:
    """Run C0 to C9 and the checks of minutes and stations; an empty list means that all hold.

    Args:
        evidence: of one keyspace, drained, its stream stopped after a final flush.
        ledger: of the run that filled the topic.
        judging: the stored judges of the keyspace.
        api: base URL; None leaves C7 out.
    """
    tables, names = evidence.tables, [sensor.name for sensor in evidence.settings.sensors]
    topic = evidence.settings.readings_topic
    again = recompute(tables["readings"], judging)
    found = [
        *checks.c0_checkpoint(Path(evidence.settings.checkpoint_uri), topic, evidence.ends),
        *checks.c0_progress(tables["stream_progress"], topic, evidence.ends),
        *checks.c1_nothing_acknowledged_is_lost(ledger, evidence.topic),
        *checks.c2_nothing_is_invented(ledger, evidence.topic),
        *checks.c3_every_entry_has_one_fate(evidence.expected, evidence.topic),
        *checks.c4_readings(evidence.expected, tables["readings"], names),
        *checks.c5_dead_letters(evidence.expected, evidence.rejected, topic),
        *c6_anomalies(again, tables, judging),
        *c8_scores(again, tables["anomalies_by_time"], judging),
        *checks.c9_nothing_attempted_is_missing(ledger, tables["readings"]),
        *checks.minutes(evidence.expected, tables["station_minutes"], names),
        *checks.stations(evidence.expected, tables["stations"]),
    ]
    return found + (checks.c7_api(api, tables["anomalies_by_time"]) if api else [])
