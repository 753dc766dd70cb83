"""History and recordings: files that say what they hold, and readers that say what is wrong with a file."""

from __future__ import annotations

import csv
import math
import threading
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import SettingsError
from core.sensors import DEFAULT_SENSORS, Sensor
from iot_simulator.__main__ import main
from iot_simulator.fault_plan import FaultPlan
from iot_simulator.fault_table import no_faults
from iot_simulator.history import stretches, with_every_hour, write_history
from iot_simulator.process import StationProcess
from iot_simulator.recorded import Recorded, read_recorded
from iot_simulator.replay import Timetable, make_timetable, replay

START = "2026-11-20T00:00:00Z"
NAMES = ["temperature", "humidity", "noise"]
LATENCY = (Sensor("latency", "ms"),)


def history(out: Path, *more: str) -> None:
    arguments = ["history", "--out", str(out), "--stations", "5", "--start", START, "--fault-rate", "2", *more]
    assert main(arguments) == 0


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_history_is_what_the_stations_would_have_sent(tmp_path: Path, suffix: str) -> None:
    """Breaks if a history's values, order, times or seq differ from the live stations'."""
    out = tmp_path / f"h{suffix}"
    history(out, "--cadence", "60", "--days", "0.5", "--labels", str(tmp_path / "l.csv"))
    table = pd.read_csv(out) if suffix == ".csv" else pd.read_parquet(out)
    assert list(table.columns) == ["station_id", "event_time", "seq", *NAMES]
    assert table.event_time.iloc[0] == "2026-11-20T00:00:00.000Z" and len(table) == 5 * 720

    process = StationProcess(7, range(5), DEFAULT_SENSORS, 60.0)
    first = int(table.seq.iloc[0])
    values = process.block(first, 720)
    labels = FaultPlan(process, 2.0, no_faults()).apply(values, first)
    np.testing.assert_array_equal(table[NAMES].to_numpy(), values.reshape(-1, 3))
    assert (pd.to_datetime(table.event_time).astype("int64") // 10**6 == table.seq * 60_000).all()
    assert table.isna().any().any()
    with (tmp_path / "l.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["kind"] for row in rows] == [label.kind for label in labels]
    assert list(rows[0]) == ["station_id", "sensor", "kind", "start", "end", "magnitude"]
    assert rows[0]["start"].endswith(":00.000Z")


def test_same_command_same_bytes(tmp_path: Path) -> None:
    """Breaks if a history cannot be made again."""
    for name in ("a.csv", "b.csv"):
        history(tmp_path / name, "--cadence", "60", "--days", "0.1")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_stretches_are_parts_of_the_whole(tmp_path: Path) -> None:
    """Breaks if a stretch has a gap, lies outside the span, or holds other values than the whole history."""
    whole, parts = tmp_path / "whole.parquet", tmp_path / "parts.parquet"
    history(whole, "--cadence", "10", "--days", "0.25")
    history(parts, "--cadence", "10", "--days", "0.25", "--stretches", "4", "--stretch-rows", "100")
    some, every = pd.read_parquet(parts), pd.read_parquet(whole)
    assert len(some) == 4 * 100 * 5
    steps = np.diff(np.unique(some.seq))
    assert (steps == 1).sum() == 4 * 99 and steps.max() == 2160 // 4 - 99
    pd.testing.assert_frame_equal(some, every[every.seq.isin(some.seq)].reset_index(drop=True))


def test_every_hour_of_the_day_has_its_readings(tmp_path: Path) -> None:
    """Breaks if an hour is missing or thinner than asked for, a stretch is cut, or a value is another one."""
    whole, parts, long = (tmp_path / f"{name}.parquet" for name in ("whole", "parts", "long"))
    history(whole, "--cadence", "10", "--fault-rate", "0")
    history(long, "--cadence", "10", "--fault-rate", "0", "--stretches", "3", "--stretch-rows", "500")
    history(
        parts, "--cadence", "10", "--fault-rate", "0", "--stretches", "3", "--stretch-rows", "500", "--hour-rows", "20"
    )
    some, every = pd.read_parquet(parts), pd.read_parquet(whole)
    pd.testing.assert_frame_equal(some, every[every.seq.isin(some.seq)].reset_index(drop=True))
    assert set(pd.read_parquet(long).seq) <= set(some.seq)
    counts = some[some.station_id == "station-0001"].event_time.str[11:13].value_counts()
    # 500 readings of ten seconds are an hour and 140 readings.
    assert sorted(counts.tolist()) == [20] * 18 + [140] * 3 + [360] * 3


@given(
    first=st.integers(0, 100_000),
    ticks=st.integers(1, 5000),
    count=st.integers(1, 5),
    rows=st.integers(1, 400),
    cadence=st.sampled_from([1.0, 7.3, 60.0, 900.0, 5000.0]),
)
def test_stretches_of_hours_lie_beside_the_others(
    first: int, ticks: int, count: int, rows: int, cadence: float
) -> None:
    """Breaks if a reading is written twice, lies outside the span, or an hour with room for more has too few."""
    parts = stretches(first, ticks, count, max(1, ticks // (3 * count))) if ticks >= count else []
    found = with_every_hour(parts, first, ticks, rows, cadence)
    held = [tick for begin, length in found for tick in range(begin, begin + length)]
    assert held == sorted(set(held)) and set(held) <= set(range(first, first + ticks))
    assert set(parts) <= set(found)
    room, kept = (
        np.bincount((np.floor(np.array(at) * cadence / 3600.0).astype(int)) % 24, minlength=24)
        for at in (range(first, first + ticks), held)
    )
    assert (kept >= np.minimum(rows, room)).all()


def test_hours_without_stretches_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Breaks if an option that does nothing is taken without a word, or a number that is none."""
    asked = ["history", "--out", str(tmp_path / "h.csv"), "--start", START]
    assert main([*asked, "--hour-rows", "20"]) == 2
    assert "--hour-rows adds to --stretches" in capsys.readouterr().err
    for wrong in ("0", "-5", "many"):
        with pytest.raises(SystemExit) as ended:
            main([*asked, "--stretches", "3", "--stretch-rows", "50", "--hour-rows", wrong])
        assert ended.value.code == 2 and "--hour-rows" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_chunks_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a history longer than one block in memory differs."""
    process = StationProcess(7, range(3), DEFAULT_SENSORS, 1.0)
    files = []
    for most in (10**6, 1000):
        monkeypatch.setattr("iot_simulator.history._MOST_VALUES", most)
        files.append(tmp_path / f"{most}.csv")
        write_history(process, FaultPlan(process, 10.0, no_faults()), [(10**9, 900)], files[-1], None)
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(("count", "rows"), [(10, 11), (0, 5), (5, 0)])
def test_stretches_that_do_not_fit_are_refused(count: int, rows: int) -> None:
    """Breaks if stretches overlap or run over the end."""
    with pytest.raises(SettingsError, match="--stretches"):
        stretches(0, 100, count, rows)


def test_a_history_can_be_replayed(tmp_path: Path) -> None:
    """Breaks if replay does not read what history writes, missing values included."""
    out, same = tmp_path / "h.csv", tmp_path / "h.parquet"
    history(out, "--cadence", "60", "--days", "0.5")
    history(same, "--cadence", "60", "--days", "0.5")
    readings = read_recorded(out, DEFAULT_SENSORS)
    assert readings == read_recorded(same, DEFAULT_SENSORS)
    assert readings[0].event_ms == 1_795_132_800_000 and readings[0].seq == 29_918_880
    assert any(value is None for reading in readings for value in reading.values.values())


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_recording_needs_neither_order_nor_seq(tmp_path: Path) -> None:
    """Breaks if rows are not put in order, naive times are not UTC, or seq is not the row number."""
    path = write(
        tmp_path / "r.csv",
        "event_time,latency,station_id,comment",
        "2014-03-07 03:46:00,47.6,a,x",
        "2014-03-07T04:41:00+01:00,,a,y",
    )
    assert read_recorded(path, LATENCY) == [
        Recorded("a", 1_394_163_660_000, 1, {"latency": None}),
        Recorded("a", 1_394_163_960_000, 0, {"latency": 47.6}),
    ]


HEADER = "station_id,event_time,latency,seq"


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        (["station_id,event_time,Latency", "a,2014-03-07T03:41:00Z,1"], ["line 1", "'latency' is missing"]),
        (["event_time,latency", "2014-03-07T03:41:00Z,1"], ["line 1", "'station_id' is missing"]),
        ([HEADER, "a,2014-03-07T03:41:00Z,1,1", "a,2014-03-07T03:41:00Z,fast,2"], ["line 3", "latency", "'fast'"]),
        ([HEADER, "a,2014-03-07T03:41:00Z,nan,1"], ["line 2", "latency", "'nan'"]),
        ([HEADER, "a,2014-03-07T03:41:00Z,1e999,1"], ["line 2", "latency", "'1e999'"]),
        ([HEADER, "a,yesterday,1,1"], ["line 2", "event_time", "'yesterday'"]),
        ([HEADER, "a b,2014-03-07T03:41:00Z,1,1"], ["line 2", "station_id", "'a b'"]),
        ([HEADER, "a,2014-03-07T03:41:00Z,1,-1"], ["line 2", "seq", "'-1'"]),
        ([HEADER, "a,2014-03-07T03:41:00Z,1"], ["line 2", "3 fields"]),
        ([HEADER], ["no readings"]),
        ([""], ["line 1", "'station_id' is missing"]),
    ],
)
def test_a_bad_recording_is_named(tmp_path: Path, lines: list[str], named: list[str]) -> None:
    """Breaks if the message does not say file, line, column and value in one sentence."""
    path = write(tmp_path / "bad.csv", *lines)
    with pytest.raises(SettingsError) as caught:
        read_recorded(path, LATENCY)
    assert all(part in str(caught.value) for part in [str(path), *named]) and "\n" not in str(caught.value)


def test_a_missing_or_binary_file_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Breaks if a wrong path ends in a traceback."""
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "x.parquet").write_bytes(b"no parquet")
    for name in ("none.csv", "x.csv", "x.parquet"):
        assert main(["replay", str(tmp_path / name)]) == 2
        assert name in capsys.readouterr().err


@given(
    gaps=st.lists(st.floats(0, 1e5), min_size=1, max_size=20),
    speed=st.one_of(st.floats(0.01, 1e4), st.just(math.inf)),
    start=st.floats(1.7e9, 1.9e9),
)
def test_no_replayed_reading_lies_in_the_future(gaps: list[float], speed: float, start: float) -> None:
    """Breaks if a reading is sent before its shifted event time, or a gap between readings is not kept."""
    times = 1.4e9 + np.cumsum(gaps)
    table = Timetable(start, float(times[0]), float(times[-1]), speed)
    assert all(time + table.shift <= table.due(time) + 1e-5 for time in times)
    assert min(table.due(time) - time - table.shift for time in times) < 1e-5


def test_a_recording_too_long_for_the_stream_is_refused() -> None:
    """Breaks if a replay sends readings that the stream will refuse as more than 30 days old."""
    readings = [Recorded("a", day * 86_400_000, day, {}) for day in (0, 40)]
    with pytest.raises(SettingsError, match=r"40\.0 days"):
        make_timetable(readings, 1.8e9, math.inf)
    assert make_timetable(readings, 1.8e9, 1.5).speed == 1.5


class Listener:
    """Takes what a publisher would."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes, bytes]] = []

    def publish(self, topic: str, key: bytes, value: bytes) -> bool:
        self.heard.append((topic, key, value))
        return True

    def watch(self) -> None:
        pass


def test_replay_sends_every_reading_in_order_and_in_the_past() -> None:
    """Breaks if replay drops, reorders or reshapes readings."""
    readings = [Recorded("a", 1000 * second, second, {"latency": float(second)}) for second in range(3)]
    listener = Listener()
    table = make_timetable(readings, 1_800_000_000.0, math.inf)
    replay(readings, table, listener, "t", threading.Event(), lambda: 1_800_000_000.0)  # type: ignore[arg-type]
    times = ["2027-01-15T07:59:58.000Z", "2027-01-15T07:59:59.000Z", "2027-01-15T08:00:00.000Z"]
    assert [(topic, key) for topic, key, _ in listener.heard] == [("t", b"a")] * 3
    assert [msgspec.json.decode(value) for _, _, value in listener.heard] == [
        {"schema_version": 1, "station_id": "a", "event_time": times[n], "seq": n, "latency": float(n)}
        for n in range(3)
    ]
