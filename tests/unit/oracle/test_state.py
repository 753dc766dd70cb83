"""The product's state against the oracle's plain one: duplicates, conflicts, lateness, forgetting, minutes."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.sensors import DEFAULT_SENSORS
from models.scoring.shard_state import Incoming, ShardState, Step
from models.scoring.station_prior import neutral_prior
from tests.oracle.stations import Expected, TopicRow, expect

NOW_MS = 1_795_262_400_000
OUTCOMES = {"accepted": 0, "duplicate": 1, "dead": 2}
RECORD_STEPS = [0, 1, 900, 20_000, 61_000, 200_000, 3_600_000, 7 * 86_400_000 + 1]
EVENT_STEPS = [0, -1, -1000, 1000, 29_999, 30_000, 30_001, 299_999, -60_000, -119_999, -120_000, -180_000, -9_000_000]


@st.composite
def topics(draw: st.DrawFn) -> list[TopicRow]:
    """Valid readings of two stations: in order, late, ahead, resent, conflicting, hours and a week apart."""
    rows: list[TopicRow] = []
    sent: list[tuple[str, int, int, float | None]] = []
    record_ms = NOW_MS
    for seq in range(draw(st.integers(1, 90))):
        record_ms += draw(st.sampled_from(RECORD_STEPS))
        if sent and draw(st.integers(0, 3)) == 0:
            station, event_ms, seq, value = sent[-draw(st.integers(1, min(len(sent), 45)))]
            event_ms = max(event_ms, record_ms - 29 * 86_400_000)
            value = draw(st.sampled_from([value, value, 0.0, -0.0, None, 1e-9]))
        else:
            station = draw(st.sampled_from(["a", "b"]))
            event_ms = record_ms + draw(st.sampled_from(EVENT_STEPS))
            value = draw(st.sampled_from([None, 0.0, -0.0, 20.5, 90.0, 20.123456789]))
        sent.append((station, event_ms, seq, value))
        rows.append(TopicRow(0, len(rows), station.encode(), reading_json(station, event_ms, seq, value), record_ms))
    return rows


def reading_json(station: str, event_ms: int, seq: int, temperature: float | None) -> bytes:
    """A reading's JSON; only the temperature varies."""
    moment = datetime.fromtimestamp(event_ms / 1000, UTC).isoformat(timespec="milliseconds")
    fields = {"schema_version": 1, "station_id": station, "event_time": moment, "seq": seq}
    return json.dumps({**fields, "temperature": temperature, "humidity": 50, "noise": None}).encode()


def step_through(rows: list[TopicRow], expected: Expected, cuts: list[int]) -> list[Step]:
    """Feed the product's state with the valid readings in batches, packed in between."""
    state = ShardState(DEFAULT_SENSORS, neutral_prior(("temperature", "humidity", "noise")))
    readings = [decision.reading for decision in expected.decisions if decision.reading]
    values = np.array([[np.nan if value is None else value + 0.0 for value in reading.values] for reading in readings])
    columns = (
        np.array([reading.event_ms for reading in readings]),
        np.array([row.record_ms for row in rows]),
        np.array([reading.seq for reading in readings]),
        values,
    )
    steps = []
    for start, end in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        ids = [reading.station_id for reading in readings[start:end]]
        steps.append(state.take(Incoming(ids, *(column[start:end] for column in columns))))
        state = ShardState.from_bytes(state.to_bytes(), DEFAULT_SENSORS, neutral_prior(state.names))
    return steps


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(topics(), st.data())
def test_state_and_oracle_agree(rows: list[TopicRow], data: st.DataObject) -> None:
    """Breaks when duplicates, conflicts, lateness, forgetting or minutes differ, or depend on the cuts."""
    expected = expect(rows, DEFAULT_SENSORS)
    assert all(decision.reading for decision in expected.decisions)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=3)))
    steps = step_through(rows, expected, cuts)
    outcome = np.concatenate([step.outcome for step in steps]).tolist()
    assert outcome == [OUTCOMES[decision.fate] for decision in expected.decisions]
    accepted = [place for place, decision in enumerate(expected.decisions) if decision.fate == "accepted"]
    late = np.concatenate([step.late for step in steps])[accepted].tolist()
    assert late == [decision.late for decision in expected.of("accepted")]
    uncounted = np.concatenate([step.minute_closed for step in steps])[accepted].tolist()
    assert uncounted == [decision.minute_ms is None for decision in expected.of("accepted")]
    assert_same_minutes(steps, expected)


def assert_same_minutes(steps: list[Step], expected: Expected) -> None:
    """Compare the closed minutes; a minute closed twice, after a week of silence, is compared by its last roll-up."""
    product = {}
    for step in steps:
        closed = step.closed
        for row, station in enumerate(closed.station_ids):
            product[station, int(closed.minute[row]) * 60_000] = (int(closed.readings[row]), closed.stats[row])
    assert product.keys() == expected.closed.keys()
    for key, minute in expected.closed.items():
        readings, stats = product[key]
        assert readings == minute.readings
        for sensor, described in zip(minute.sensors, stats, strict=True):
            assert described[3] == len(sensor.values)
            if sensor.values:
                mean = sum(sensor.values) / len(sensor.values)
                assert described[:3] == pytest.approx(
                    [mean, min(sensor.values), max(sensor.values)], rel=1e-5, abs=1e-6
                )
