"""The checks notice what is wrong: rows as a correct stream would store them, then one thing spoilt at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.sensors import DEFAULT_SENSORS
from core.verdict import Flag
from tests.oracle import checks
from tests.oracle.keyspaces import equal_rows
from tests.oracle.recompute import c6_anomalies, c8_scores, recompute
from tests.oracle.stations import TopicRow, expect
from tests.oracle.stream_input import Shape
from tests.oracle.tables import identity_of
from tests.oracle.world import JUDGING, NAMES, TOPIC, World, correct_world


@pytest.fixture(scope="module")
def pristine() -> World:
    """Built once; each test harms a copy."""
    return correct_world(Shape(stations=8, ticks=240))


@pytest.fixture
def world(pristine: World) -> World:
    """A correct run's leavings, to be harmed."""
    return pristine.copy()


def found(world: World) -> list[str]:
    """All violations that can be found without servers."""
    tables = world.tables
    again = recompute(tables["readings"], JUDGING)
    return [
        *checks.c1_nothing_acknowledged_is_lost(world.ledger, world.topic),
        *checks.c2_nothing_is_invented(world.ledger, world.topic),
        *checks.c3_every_entry_has_one_fate(world.expected, world.topic),
        *checks.c4_readings(world.expected, tables["readings"], NAMES),
        *checks.c5_dead_letters(world.expected, world.rejected, TOPIC),
        *c6_anomalies(again, tables, JUDGING),
        *c8_scores(again, tables["anomalies_by_time"], JUDGING),
        *checks.c9_nothing_attempted_is_missing(world.ledger, tables["readings"]),
        *checks.minutes(world.expected, tables["station_minutes"], NAMES),
        *checks.stations(world.expected, tables["stations"]),
    ]


def test_a_correct_run_passes(world: World) -> None:
    """Breaks when a check cries without reason; the run holds what the checks are about."""
    assert found(world) == []
    assert len(world.tables["anomalies_by_time"]) > 5
    assert {row["model_version"] for row in world.tables["anomalies_by_time"]} == {1, 2}
    assert len(world.rejected) > len(world.expected.of("dead")) > 50
    assert len(world.expected.of("duplicate")) > 20
    assert any(decision.late for decision in world.expected.decisions)
    assert len(world.expected.closed) > 5


def drop_last(table: str) -> Callable[[World], object]:
    """Lose the last row of a table."""
    return lambda world: world.tables[table].pop()


def change(table: str, **columns: object) -> Callable[[World], object]:
    """Change columns of the first row of a table."""
    return lambda world: world.tables[table][0].update(columns)


def double(table: str, **columns: object) -> Callable[[World], object]:
    """Store the first row of a table once more under another key."""
    return lambda world: world.tables[table].append({**world.tables[table][0], **columns})


def unflagged(world: World) -> None:
    """Forget that a reading was flagged, in `readings` only."""
    flagged = next(row for row in world.tables["readings"] if row["flags"] & Flag.ANOMALY)
    flagged["flags"] &= ~Flag.ANOMALY


def to_dead_letters(world: World) -> None:
    """Move a stored reading to the dead letters."""
    row = world.tables["readings"].pop()
    key = f"{TOPIC}-{row['kafka_partition']}-{row['kafka_offset']}".encode()
    world.rejected.append(replace_row(world.rejected[0], key=key))


def replace_row(row: TopicRow, **fields: Any) -> TopicRow:
    """A changed entry of a topic."""
    return row._replace(**fields)


def spoil_letter(**fields: Any) -> Callable[[World], None]:
    """Change a dead letter that was sent once."""

    def spoil(world: World) -> None:
        place = next(n for n, row in enumerate(world.rejected) if row.value and len(row.value) < 1000 and row.key)
        world.rejected[place] = replace_row(world.rejected[place], **fields)

    return spoil


def lose_from_kafka(world: World) -> None:
    """Kafka forgot an acknowledged entry."""
    world.topic.pop()


HARMS: dict[str, tuple[Callable[[World], object], str]] = {
    "reading lost": (drop_last("readings"), "C4"),
    "reading doubled": (double("readings", seq=10**9), "C4"),
    "same identity twice": (double("readings"), "C4"),
    "other value": (change("readings", sensors={"temperature": 1.0}), "C4"),
    "missing value invented": (change("readings", sensors={name: 20.0 for name in NAMES}), "C4"),
    "other offset": (change("readings", kafka_offset=10**6), "C4"),
    "other Kafka time": (change("readings", record_time=5), "C4"),
    "late flag lost": (
        lambda world: [row.update(flags=row["flags"] & ~Flag.LATE) for row in world.tables["readings"]],
        "C4",
    ),
    "moved to dead letters": (to_dead_letters, "C5"),
    "letter lost": (lambda world: world.rejected.clear(), "C5"),
    "letter's bytes": (spoil_letter(value=b"other"), "C5"),
    "letter's headers": (spoil_letter(headers=()), "C5"),
    "letter of nothing": (lambda world: world.rejected.append(TopicRow(0, 0, b"readings-0-99999", b"", 0)), "C5"),
    "score changed": (
        lambda world: world.tables["readings"][7].update(score=world.tables["readings"][7]["score"] + 2e-6),
        "C8",
    ),
    "severity changed": (change("readings", severity=99.0), "C8"),
    "flag forgotten": (unflagged, "C8"),
    "version changed": (change("readings", model_version=2), "C6"),
    "anomaly lost by time": (drop_last("anomalies_by_time"), "C6"),
    "anomaly lost by station": (drop_last("anomalies_by_station"), "C6"),
    "anomaly lost in the feed": (drop_last("anomaly_feed"), "C6"),
    "anomaly invented": (double("anomalies_by_station", seq=10**9), "C6"),
    "anomaly fed twice": (double("anomaly_feed", kafka_offset=10**6), "C6"),
    "anomaly's score": (change("anomalies_by_time", score=9.0), "C8"),
    "anomaly's verdict": (change("anomaly_feed", verdict="[]"), "C6"),
    "wrong hour": (change("anomalies_by_time", hour=0), "C6"),
    "index lost": (lambda world: world.tables["anomaly_hours"].clear(), "C6"),
    "ordinal": (change("anomalies_by_time", ordinal=10**6), "C8"),
    "minute lost": (drop_last("station_minutes"), "minutes"),
    "minute counted twice": (change("station_minutes", readings=10**6), "minutes"),
    "minute's mean": (change("station_minutes", sensors={}), "minutes"),
    "station lost": (drop_last("stations"), "stations"),
    "station's count": (change("stations", readings=0), "stations"),
    "station's clock": (change("stations", clock=0), "stations"),
    "Kafka lost one": (lose_from_kafka, "C1"),
    "Kafka invented one": (lambda world: world.topic.append(TopicRow(0, 10**6, b"a", b"b", 0)), "C2"),
    "acknowledged and not stored": (drop_last("readings"), "C9"),
}


@pytest.mark.parametrize(("harm", "check"), HARMS.values(), ids=HARMS)
def test_harm_is_noticed(world: World, harm: Callable[[World], object], check: str) -> None:
    """Breaks when the named check lets this harm pass."""
    harm(world)
    assert [violation for violation in found(world) if violation.startswith(check)]


def test_block_must_lead_to_the_score(world: World) -> None:
    """Breaks when a stored block other than the reading's own passes."""
    anomalies = world.tables["anomalies_by_time"]
    anomalies[0]["block"], anomalies[1]["block"] = anomalies[1]["block"], anomalies[0]["block"]
    again = recompute(world.tables["readings"], JUDGING)
    assert any("blocks or ordinals" in violation for violation in c8_scores(again, anomalies, JUDGING))


def test_checkpoint_must_be_committed_to_the_end(tmp_path: Path) -> None:
    """Breaks when an unfinished batch, or one that stops before the broker's end, passes for drained."""
    (tmp_path / "offsets").mkdir()
    (tmp_path / "commits").mkdir()
    for batch, end in (("0", 2), ("9", 5), ("10", 7)):
        lines = ["v1", json.dumps({"batchWatermarkMs": 0}), json.dumps({TOPIC: {"0": end, "1": 9}})]
        (tmp_path / "offsets" / batch).write_text("\n".join(lines))
        (tmp_path / "commits" / batch).write_text("v1\n{}")
    (tmp_path / "offsets" / ".11.crc").write_text("")
    assert checks.c0_checkpoint(tmp_path, TOPIC, {0: 7, 1: 9}) == []
    assert checks.c0_checkpoint(tmp_path, TOPIC, {0: 8, 1: 9})
    (tmp_path / "commits" / "10").unlink()
    assert checks.c0_checkpoint(tmp_path, TOPIC, {0: 7, 1: 9})
    assert checks.c0_checkpoint(tmp_path / "nowhere", TOPIC, {})


def test_equal_rows_ignore_write_times_only(world: World) -> None:
    """Breaks when a replay's difference passes, or its own write times count as one."""
    one = [row for row in world.tables["readings"]]
    later = [{**row, "scored_time": row["scored_time"] + 5} for row in one]
    assert equal_rows("readings", one, later) == []
    assert equal_rows("readings", one, later[1:])
    assert equal_rows("readings", one, [{**later[0], "score": 7.0}, *later[1:]])


def test_expectation_does_not_depend_on_the_order_of_reading_back(world: World) -> None:
    """Breaks when the oracle needs its input sorted."""
    again = expect(reversed(world.topic), DEFAULT_SENSORS)
    assert again.decisions == world.expected.decisions
    assert {identity_of(row) for row in world.tables["readings"]} == again.stored().keys()
    assert replace(again, decisions=[]).of("dead") == []
