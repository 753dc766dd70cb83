"""What a correct stream would leave behind of a small run, so that the checks can be checked without servers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.sensors import DEFAULT_SENSORS
from core.verdict import Flag, Verdicts
from models.scoring.feature_block import Blocks, pack_row
from models.scoring.station_prior import neutral_prior
from tests.oracle.checks import rolled_up
from tests.oracle.ledger import Entry, Ledger, digest
from tests.oracle.recompute import Judging, recompute
from tests.oracle.stations import HOUR_MS, Decision, Expected, TopicRow, expect
from tests.oracle.stream_input import Shape, plan
from tests.oracle.tables import Row

NOW_MS = 1_795_262_400_000
NAMES = [sensor.name for sensor in DEFAULT_SENSORS]
TOPIC = "readings"


class Spikes:
    """A judge of the simplest kind: the temperature's distance from 22 °C, flagged beyond its limit."""

    def __init__(self, limit: float) -> None:
        """`limit` in °C."""
        self.limit = limit

    def judge(self, blocks: Blocks) -> Verdicts:
        """Score by the temperature alone."""
        value = np.nan_to_num(blocks.per_sensor("value")[:, 0].astype(np.float64), nan=22.0)
        score = np.abs(value - 22.0) / self.limit
        flags = np.where(score > 1, Flag.ANOMALY, 0) | np.where(blocks.common("late") > 0, Flag.LATE, 0)
        return Verdicts(score, (score > 1) * np.float32(50), flags.astype(np.int32), score)


JUDGING = Judging(
    DEFAULT_SENSORS,
    neutral_prior(tuple(NAMES)),
    {1: Spikes(1.6), 2: Spikes(1.3)},
    {0: [(0, 1), (700, 2)], 1: [(0, 1), (900, 2)]},
)


@dataclass
class World:
    """What a correct stream leaves behind."""

    ledger: Ledger
    topic: list[TopicRow]
    expected: Expected
    rejected: list[TopicRow]
    tables: dict[str, list[Row]]

    def copy(self) -> World:
        """A world whose lists and rows may be harmed."""
        tables = {table: [dict(row) for row in rows] for table, rows in self.tables.items()}
        return World(self.ledger, list(self.topic), self.expected, list(self.rejected), tables)


def correct_world(shape: Shape) -> World:
    """A small run, published and stored as it should be."""
    ledger, topic, ends = Ledger(), [], [0, 0]
    for number, item in enumerate(plan(shape, NOW_MS)):
        partition = int((item.key or b"0").decode(errors="replace")[-1] in "13579")
        entry = Entry(item, digest(item.key, item.value), partition, ends[partition])
        ledger.entries.append(entry)
        topic.append(TopicRow(partition, ends[partition], item.key, item.value, NOW_MS - 240_000 + 120 * number))
        ends[partition] += 1
    expected = expect(topic, DEFAULT_SENSORS)
    return World(ledger, topic, expected, letters(expected), stored_tables(expected))


def letters(expected: Expected) -> list[TopicRow]:
    """The dead-letter topic; every tenth letter was sent twice, as after a kill."""
    found = []
    for decision in expected.of("dead"):
        row = decision.row
        headers = {"topic": TOPIC, "partition": row.partition, "offset": row.offset, "timestamp": row.record_ms}
        headers |= {"reason": min(decision.reasons), "detail": "because"}
        headers |= {"null_value": "true"} if row.value is None else {}
        encoded = tuple((name, str(value).encode()) for name, value in headers.items())
        key = f"{TOPIC}-{row.partition}-{row.offset}".encode()
        found += [TopicRow(0, 0, key, row.value or b"", NOW_MS, encoded)] * (2 if row.offset % 10 == 0 else 1)
    return found


def stored_tables(expected: Expected) -> dict[str, list[Row]]:
    """The tables, scored by `JUDGING`."""
    readings = [reading_row(decision) for decision in expected.stored().values()]
    again = recompute(readings, JUDGING)
    anomalies = []
    for place, row in enumerate(again.rows):
        row["score"], row["flags"] = float(again.verdicts.score[place]), int(again.verdicts.flags[place])
        row["severity"] = float(again.verdicts.severity[place])
        if row["flags"] & Flag.ANOMALY:
            extra = {
                "block": pack_row(again.step.blocks, place),
                "verdict": "{}",
                "ordinal": int(again.step.ordinal[place]),
            }
            anomalies.append({**row, **extra, "stored_time": NOW_MS})
    by_hour = [{**row, "hour": row["event_time"] // HOUR_MS * HOUR_MS, "slot": 0} for row in anomalies]
    return {
        "readings": again.rows,
        "anomalies_by_time": by_hour,
        "anomalies_by_station": [dict(row) for row in anomalies],
        "anomaly_feed": [{**row, "append_hour": row["record_time"] // HOUR_MS * HOUR_MS} for row in anomalies],
        "anomaly_hours": [{"hour": row["hour"], "slot": 0} for row in by_hour],
        "station_minutes": [minute_row(key, expected) for key in expected.closed],
        "stations": station_rows(expected),
    }


def reading_row(decision: Decision) -> Row:
    """A row of `readings`, not yet judged."""
    row, reading = decision.row, decision.reading
    assert reading is not None
    values = {name: value for name, value in zip(NAMES, reading.values, strict=True) if value is not None}
    return {
        "station_id": reading.station_id, "bucket": 0, "event_time": reading.event_ms, "seq": reading.seq,
        "sensors": values,
        "kafka_partition": row.partition, "kafka_offset": row.offset, "record_time": row.record_ms,
        "scored_time": NOW_MS,
        "model_version": JUDGING.version_of(row.partition, row.offset), "flags": Flag.LATE if decision.late else 0,
    }  # fmt: skip


def minute_row(key: tuple[str, int], expected: Expected) -> Row:
    """A row of `station_minutes`, with a typical band that the checks leave alone."""
    rolled = rolled_up(expected, key, NAMES)
    sensors = {name: (*roll, 1.0, 2.0, 3.0) for name, roll in rolled.items()}
    return {"station_id": key[0], "minute": key[1], "readings": expected.closed[key].readings, "sensors": sensors}


def station_rows(expected: Expected) -> list[Row]:
    """The table `stations`."""
    accepted = [decision.reading.station_id for decision in expected.of("accepted") if decision.reading]
    return [
        {
            "station_id": name,
            "clock": memory.clock_ms,
            "last_record_time": memory.last_record_ms,
            "readings": accepted.count(name),
        }
        for name, memory in expected.memories.items()
    ]
