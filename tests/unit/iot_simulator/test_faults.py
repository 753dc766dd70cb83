"""Injection: what is labelled is bent, what is not labelled is healthy, whatever the slice, the cut or the restart."""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import SettingsError
from core.sensors import DEFAULT_SENSORS
from iot_simulator.encode import encode_label, encode_tick
from iot_simulator.fault_plan import FaultPlan
from iot_simulator.fault_schedule import parse_fault, schedule, station_id
from iot_simulator.fault_table import no_faults
from iot_simulator.faults_at_rate import FaultsAtRate
from iot_simulator.process import StationProcess
from iot_simulator.units import milliseconds, parse_duration, parse_time
from models.evaluation.fault_models import KINDS, Fault

MIDNIGHT = 1_795_132_800
NAMES = [sensor.name for sensor in DEFAULT_SENSORS]


def planned(stations: range, cadence: float, rate: float) -> tuple[StationProcess, FaultPlan]:
    process = StationProcess(7, stations, DEFAULT_SENSORS, cadence)
    return process, FaultPlan(process, rate, no_faults())


def masked(labels: list[Fault], first: int, cadence: float, shape: tuple[int, int, int]) -> np.ndarray:
    """What the labels say is bent."""
    mask = np.zeros(shape, dtype=bool)
    for label in labels:
        start, end = (round(milliseconds(t) / 1000 / cadence) - first for t in (label.start, label.end))
        mask[max(0, start) : max(0, end), int(label.station_id[-4:]), NAMES.index(label.sensor)] = True
    return mask


@pytest.mark.parametrize(("cadence", "rate"), [(1.0, 20.0), (60.0, 1.0), (60.0, 200.0)])
def test_labels_are_the_whole_truth(cadence: float, rate: float) -> None:
    """Breaks if a reading is bent without a label, or a label stands where nothing was bent."""
    process, plan = planned(range(8), cadence, rate)
    first = round(MIDNIGHT / cadence)
    clean = process.block(first, 2000)
    values = clean.copy()
    labels = plan.apply(values, first)
    changed = (values != clean) | np.isnan(values)
    assert not (changed & ~masked(labels, first, cadence, values.shape)).any()
    for kind in KINDS:
        said = masked([label for label in labels if label.kind == kind], first, cadence, values.shape)
        # The others may happen to report the truth, rounded, and those that hold a value start from it.
        assert changed[said].mean() > (0.999 if kind in ("spike", "dip", "shift", "dropout") else 0.5), kind
    assert np.isnan(values).any() and len({label.kind for label in labels}) == len(KINDS)


def test_the_rate_is_the_rate_and_all_kinds_are_equal() -> None:
    """Breaks if faults are rarer or commoner than asked for, or a kind is favoured."""
    process, _ = planned(range(400), 1.0, 1.0)
    maker = FaultsAtRate(process, 1.0)
    faults = [maker.stretch(number) for number in range(480_000, 480_024)]
    assert sum(map(len, faults)) == pytest.approx(400 * 24, rel=0.05)
    kinds = Counter(np.concatenate([plan.bend.kind for plan in faults]).tolist())
    assert set(kinds) == set(range(len(KINDS))) and min(kinds.values()) > 0.8 * max(kinds.values())
    magnitude = np.concatenate([plan.magnitude for plan in faults])
    assert magnitude.min() >= 3.0 and magnitude.max() <= 10.0


def test_faults_of_a_station_never_touch() -> None:
    """Breaks if two random faults of a station overlap, which no label could express."""
    process, _ = planned(range(50), 60.0, 30.0)
    maker = FaultsAtRate(process, 30.0)
    plan = maker.stretch(41_000)
    for station in range(50):
        mine = plan.take(np.flatnonzero(plan.station == station))
        order = np.argsort(mine.start)
        assert (mine.start[order][1:] >= mine.end[order][:-1]).all()
        assert mine.start.min() >= 41_000 * maker.stretch_ticks and mine.end.max() <= 41_001 * maker.stretch_ticks


@settings(max_examples=20, deadline=None)
@given(
    first=st.integers(MIDNIGHT, MIDNIGHT + 10**6),
    cuts=st.lists(st.integers(1, 499), max_size=4, unique=True),
    restart=st.integers(0, 499),
    station=st.integers(0, 3),
)
def test_cut_restart_and_replica_give_the_same_faults(first: int, cuts: list[int], restart: int, station: int) -> None:
    """Breaks if a fault changes with the slice, with the cutting into blocks, or with a restart in its middle."""
    process, plan = planned(range(4), 1.0, 60.0)
    whole = process.block(first, 500)
    labels = plan.apply(whole, first)

    edges = [restart, *(cut for cut in sorted(cuts) if cut > restart), 500]
    process, plan = planned(range(station, 4), 1.0, 60.0)
    parts, again = [], []
    for start, end in zip(edges, edges[1:], strict=False):
        part = process.block(first + start, end - start)
        again += plan.apply(part, first + start)
        parts.append(part)
    np.testing.assert_array_equal(np.concatenate(parts), whole[restart:, station:])
    wanted = {
        label for label in labels
        if int(label.station_id[-4:]) >= station and milliseconds(label.end) > (first + restart) * 1000
    }  # fmt: skip
    assert set(again) == wanted and len(again) == len(wanted)


def test_a_scheduled_fault_happens_when_and_where_it_says() -> None:
    """Breaks if --fault bends another station, sensor or time, or its label says otherwise."""
    process = StationProcess(7, range(5, 10), DEFAULT_SENSORS, 2.0)
    fault = parse_fault("station-0007:temperature:spike:+20s:10s:10", DEFAULT_SENSORS, 25)
    first = MIDNIGHT // 2
    plan = FaultPlan(process, 0.0, schedule(process, [fault], first))
    clean = process.block(first, 50)
    values = clean.copy()
    (label,) = plan.apply(values, first)
    changed = np.argwhere(values != clean)
    assert {tuple(place) for place in changed.tolist()} == {(tick, 2, 0) for tick in range(10, 15)}
    np.testing.assert_allclose((values - clean)[10:15, 2, 0], 10 * process.sigma[2, 0], atol=0.051)
    assert label == Fault(
        "station-0007", "temperature", "spike",
        parse_time("2026-11-20T00:00:20Z"), parse_time("2026-11-20T00:00:30Z"), 10.0,
    )  # fmt: skip


def test_a_schedule_for_other_replicas_is_not_mine() -> None:
    """Breaks if each replica injects every scheduled fault."""
    process = StationProcess(7, range(5), DEFAULT_SENSORS, 1.0)
    fault = parse_fault("station-0007:noise:dip:0s:5s:4", DEFAULT_SENSORS, 25)
    assert len(schedule(process, [fault], MIDNIGHT)) == 0


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("station-0007:temperature:spike", "expected STATION"),
        ("station-0025:temperature:spike:+1s:1s:5", "station-0025"),
        ("station-00007:temperature:spike:+1s:1s:5", "station-00007"),
        ("7:temperature:spike:+1s:1s:5", "station '7'"),
        ("station-0007:heat:spike:+1s:1s:5", "'heat'"),
        ("station-0007:noise:melt:+1s:1s:5", "'melt'"),
        ("station-0007:noise:dip:soon:1s:5", "'soon'"),
        ("station-0007:noise:dip:+1s:-1s:5", "'-1s'"),
        ("station-0007:noise:dip:+1s:1s:much", "'much'"),
        ("station-0007:noise:dip:+1s:1s:nan", "'nan'"),
    ],
)
def test_a_bad_fault_is_named(text: str, named: str) -> None:
    """Breaks if a typo in --fault is accepted or the message does not name the part at fault."""
    with pytest.raises(SettingsError, match=named):
        parse_fault(text, DEFAULT_SENSORS, 25)


def test_durations_and_ids() -> None:
    """Breaks if the grammar of durations moves, or an id depends on the number of stations."""
    assert [parse_duration(text) for text in ("10", "+20s", "500ms", "1.5h", "2d", "3m")] == [
        10, 20, 0.5, 5400, 172_800, 180,
    ]  # fmt: skip
    assert [station_id(0), station_id(9999), station_id(12345)] == ["station-0000", "station-9999", "station-12345"]


def test_the_wire_format() -> None:
    """Breaks if the reading's JSON is not that of the design, or a label lacks a field."""
    values = np.array([[21.4, 48.2, np.nan]])
    (reading,) = encode_tick(["station-0007"], "2026-11-21T10:15:04.250Z", 1234, NAMES, values)
    assert reading == (
        b'{"schema_version":1,"station_id":"station-0007","event_time":"2026-11-21T10:15:04.250Z","seq":1234,'
        b'"temperature":21.4,"humidity":48.2,"noise":null}'
    )
    time = parse_time("2026-11-21T10:15:04.250Z")
    label = msgspec.json.decode(encode_label(Fault("station-0007", "noise", "stuck", time, time, 3.5)))
    assert label == {
        "station_id": "station-0007", "sensor": "noise", "kind": "stuck",
        "start": "2026-11-21T10:15:04.250000Z", "end": "2026-11-21T10:15:04.250000Z", "magnitude": 3.5,
    }  # fmt: skip
