"""The pure parts of the pages: conditions, episodes as they arrive, the strip, the columns of charts, the words."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.pages.anomaly import shown
from api.pages.conditions import CONDITIONS, MEANINGS, WARM_READINGS, condition_of
from api.pages.folding import EpisodeFold
from api.pages.plant import state_of
from api.pages.series import COLUMNS, Series, document, of_minutes, of_readings, thinned, width_for
from api.pages.station import MARKED, MARKS, marks_of
from api.pages.strip import HEIGHT, HOURS, STEP_MS, strip_view
from api.pages.words import length
from core.episodes import episodes
from core.sensors import DEFAULT_SENSORS, Sensor
from models.kernels.statistics_kernel import YOUNG
from storage.tables.anomalies import AnomalyRow
from storage.tables.minutes import MinuteRow, SensorMinute
from storage.tables.readings import ReadingRow
from storage.tables.stations import StationRow

NOW = 1_795_256_104_000
HOUR_MS = 3_600_000
STATION = StationRow("s-1", NOW, NOW, 500, 1.0, {}, {})


def anomaly(station: str, ordinal: int, severity: float = 30.0, verdict: str = "{}") -> AnomalyRow:
    at = NOW + 1000 * ordinal
    return AnomalyRow(station, at, ordinal, {}, 1.5, severity, 1, verdict, ordinal, None, 3, 0, ordinal, at, at, at)


@pytest.mark.parametrize(
    ("changes", "severity", "stale", "condition"),
    [
        ({}, None, False, "normal"),
        ({}, 80.0, False, "critical"),
        ({}, 50.0, False, "major"),
        ({}, 25.0, False, "minor"),
        ({}, 3.0, False, "warning"),
        ({}, 0.5, False, "warning"),
        ({}, 80.0, True, "unknown"),
        ({"last_record_ms": NOW - 61_000}, 80.0, False, "silent"),
        ({"last_record_ms": NOW - 61_000}, None, True, "unknown"),
        ({"readings": WARM_READINGS - 1}, None, False, "warming-up"),
        ({"readings": WARM_READINGS - 1}, 80.0, False, "critical"),
    ],
)
def test_condition(changes: dict[str, Any], severity: float | None, stale: bool, condition: str) -> None:
    """Breaks when blind looks like quiet, an open episode like normal, or a silent station like one in order."""
    assert condition_of(STATION._replace(**changes), severity, stale, NOW) == condition
    assert set(MEANINGS) == set(CONDITIONS)


def test_a_station_is_warm_when_the_detector_says_so() -> None:
    """Breaks when the page calls a station warmed up that the statistics still judge by others."""
    assert WARM_READINGS == YOUNG


gaps = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 25), st.floats(0, 100)), max_size=60)


@given(gaps, st.integers(0, 3))
def test_episodes_as_they_arrive_are_those_of_the_definition(steps: list[tuple[str, int, float]], again: int) -> None:
    """Breaks when the page counts episodes otherwise than alarms do, or a repeated anomaly changes anything."""
    last: dict[str, int] = {}
    rows = []
    for station, step, severity in steps:
        last[station] = last.get(station, 0) + step
        rows.append(anomaly(station, last[station], severity))
    fold = EpisodeFold()
    for _ in range(1 + again):
        fold.add(rows)
    wanted = episodes([ord(row.station_id) for row in rows], [row.ordinal for row in rows], [True] * len(rows))
    found = fold.newest(100)
    assert sorted((ord(e.station_id), e.last_ordinal, e.readings) for e in found) == sorted(
        zip(wanted.station.tolist(), wanted.end.tolist(), wanted.readings.tolist(), strict=True)
    )
    assert max((e.severity for e in found), default=0) == max((row.severity for row in rows), default=0)


def test_an_episode_is_open_as_long_as_one_more_anomaly_would_extend_it() -> None:
    """Breaks when a tile goes back to normal while the episode lasts, or never does."""
    fold = EpisodeFold()
    fold.add([anomaly("s-1", 100)])
    assert fold.open_of("s-1", 100)
    assert fold.open_of("s-1", 110)
    assert not fold.open_of("s-1", 111)
    assert not fold.open_of("s-2", 100)


def test_an_episode_speaks_of_its_worst_reading() -> None:
    """Breaks when the list shows the sentence of the first reading and the severity of another."""
    fold = EpisodeFold()
    for ordinal, severity in ((1, 10.0), (2, 90.0), (3, 20.0)):
        sensors = [{"name": f"x{ordinal}", "contribution": 0.9}, {"name": "y", "contribution": 0.1}]
        fold.add([anomaly("s", ordinal, severity, json.dumps({"explanation": f"no {ordinal}", "sensors": sensors}))])
    (found,) = fold.newest(9)
    assert (found.sentence, found.sensor, found.severity, found.worst_seq, found.first_seq) == (
        "no 2",
        "x2",
        90.0,
        2,
        1,
    )


def test_the_state_says_blind_before_anything_else() -> None:
    """Breaks when a stream that never started, or stopped, reads like a quiet plant."""
    assert state_of(NOW, NOW, 30)["kind"] == "watching"
    assert state_of(None, NOW, 30)["kind"] == "blind"
    stopped = state_of(NOW - 125_000, NOW, 30)
    assert stopped["kind"] == "blind"
    assert "Not watching since 2026-11-21 10:12:59 UTC (2 min 5 s)" in stopped["text"]


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0, "0 s"), (59_400, "59 s"), (60_000, "1 min"), (200_000, "3 min 20 s"), (7_500_000, "2 h 5 min"),
     (90_000_000, "1 d 1 h"), (-5, "0 s")],
)  # fmt: skip
def test_lengths_of_time(milliseconds: int, text: str) -> None:
    """Breaks when a length is rounded to nothing, or a unit is missing."""
    assert length(milliseconds) == text


def test_the_strip_shows_every_anomaly_and_the_worst_at_its_foot() -> None:
    """Breaks when a step is lost at an edge, a bar leaves the drawing, or a single reading cannot be seen."""
    last = NOW - NOW % STEP_MS
    found = strip_view(
        {last: {"critical": 1, "low": 999}, last - STEP_MS: {"minor": 4}, last - 13 * HOUR_MS: {"major": 7}}, NOW
    )
    assert len(found["bars"]) == HOURS * HOUR_MS // STEP_MS
    newest = found["bars"][-1]["parts"]
    assert [part["kind"] for part in newest] == ["critical", "warning"]
    assert newest[0]["y"] + newest[0]["height"] == pytest.approx(HEIGHT)
    assert all(part["y"] >= 0 and part["height"] >= 2 for bar in found["bars"] for part in bar["parts"])
    assert found["label"].startswith("1,004 abnormal readings")
    assert strip_view({}, NOW)["label"] == f"No anomaly in {HOURS} hours."


def minute(at: int, mean: float, band: tuple[float | None, ...] = (0.0, 5.0, 10.0)) -> MinuteRow:
    return MinuteRow("s", at, {"x": SensorMinute(mean - 1, mean, mean + 1, 60, *band)}, 60)


def test_thinning_keeps_every_excursion() -> None:
    """Breaks when a spike vanishes by zooming out, or an unknown value counts as a number."""
    rows = [minute(60_000 * at, 5.0 + 40.0 * (at == 17)) for at in range(120)]
    wide = thinned(of_minutes([*rows, MinuteRow("s", 60_000 * 121, {}, 0)], ["x", "never"]), 600_000)
    assert wide.times.tolist() == [600_000 * step for step in range(13)]
    x = dict(zip(COLUMNS, wide.cells[:, 0].T, strict=True))
    assert (np.nanmax(x["most"]), np.nanmin(x["least"])) == (46.0, 4.0)
    assert x["value"][1] == pytest.approx(9.0)
    assert np.isnan(wide.cells[:, 1]).all()
    assert np.isnan(x["value"][12])


def test_readings_carry_the_band_of_their_minute_and_lose_it_when_it_is_old() -> None:
    """Breaks when raw values have no typical band, or one of another time."""
    bands = of_minutes([minute(0, 5.0), minute(60_000, 6.0, (None, None, None))], ["x"])
    rows = [ReadingRow("s", at, at, {"x": 1.0}, 0, 0, 0, 1, 0, at, at, at) for at in (-1, 30_000, 61_000, 999_000)]
    cells = of_readings(rows, bands, ["x"]).cells[:, 0]
    assert cells[:, 0].tolist() == [1.0] * 4
    assert cells[1, 3:].tolist() == [0.0, 5.0, 10.0]
    assert np.isnan(cells[[0, 2, 3], 3:]).all()
    assert len(of_readings(rows, of_minutes([], ["x"]), ["x"])) == 4


def test_a_silence_is_a_gap_and_not_a_line() -> None:
    """Breaks when the chart draws across a time in which nothing was heard."""
    times = np.array([0, 1000, 2000, 60_000], np.int64)
    found = document(Series(times, np.ones((4, 1, len(COLUMNS)))), ["x"], 3000)
    assert found["times"] == [0, 1000, 2000, 3500, 60_000]
    assert found["sensors"]["x"]["value"] == [1.0, 1.0, 1.0, None, 1.0]
    assert document(Series(np.empty(0, np.int64), np.empty((0, 1, 6))), ["x"], 3000)["times"] == []


@pytest.mark.parametrize(("span", "step"), [(300_000, 1000), (3_600_000, 1000), (30 * 86_400_000, 60_000)])
def test_a_chart_never_gets_more_points_than_it_has_pixels(span: int, step: int) -> None:
    """Breaks when thirty days arrive as 43,200 points."""
    width = width_for(span, step)
    assert width % step == 0
    assert span / width <= 1200


def test_marks_keep_the_worst_and_say_what_they_leave_out() -> None:
    """Breaks when a storm of anomalies makes an endless answer, or hides its worst one."""
    rows = [anomaly("s", at, 99.0 if at == 2500 else 5.0) for at in range(MARKED + 600, 0, -1)]
    found = marks_of(rows[: MARKED + 1], NOW, NOW + 1000 * (MARKED + 600))
    assert len(found["marks"]) <= MARKS + 1
    assert max(mark["severity"] for mark in found["marks"]) == 99
    assert found["marked_from_ms"] == rows[MARKED - 1].event_ms
    assert marks_of(rows[:5], NOW, NOW + HOUR_MS)["marked_from_ms"] is None
    assert sum("open" not in episode["lasted"] for episode in found["episodes"]) == 1


FULL = {
    "sensors": [
        {"name": "temperature", "unit": "Cel", "actual": 41.23, "typical": 25.1, "lower": 19.2, "upper": 31.0,
         "direction": "above", "contribution": 0.81},
        {"name": "gone", "unit": "1", "actual": None, "typical": None, "lower": None, "upper": None,
         "direction": "missing", "contribution": None},
    ],
    "witnesses": [{"name": "iforest", "score": 0.5, "threshold": 0.6, "fired": False},
                  {"name": "ewma:temperature", "score": 5.1, "threshold": 3.0, "fired": True}],
    "explanation": "Temperature is high.",
    "cause": {"hint": "step", "evidence": "it moved"},
    "action": {"text": "Look."},
}  # fmt: skip


def test_an_anomaly_in_words() -> None:
    """Breaks when the worst sensor is not first, a digit is invented, or who fired is not told first."""
    found = shown(anomaly("s", 7, 82.4, json.dumps(FULL)), DEFAULT_SENSORS, None)
    first, second = found["judged"]
    assert (first["label"], first["actual"], first["unit"], first["apart"]) == ("Temperature", "41.2", "°C", "+16.1")
    assert first["drawing"]["outside"]
    assert first["drawing"]["lower"] < first["drawing"]["typical"] < first["drawing"]["actual"]
    assert (second["actual"], second["drawing"]) == ("–", None)
    assert [witness["fired"] for witness in found["witnesses"]] == [True, False]
    assert found["fired"] == 1
    assert (found["condition"], found["severity"], found["action"]) == ("critical", 82, "Look.")


@pytest.mark.parametrize("verdict", ["", "{}", "no json", "[]", '{"sensors": null}', '{"cause": "text", "action": ""}'])
def test_an_old_or_broken_verdict_still_makes_a_page(verdict: str) -> None:
    """Breaks when a row of an older release, or a damaged one, is a 500."""
    found = shown(anomaly("s", 7, 1.0, verdict), (Sensor("x"),), None)
    assert found["sentence"].startswith("A reading beyond its limit")
    assert (found["cause"], found["action"], found["condition"]) == (None, None, "warning")
