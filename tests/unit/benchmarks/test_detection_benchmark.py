"""The benchmark of the detector: plants whose labels are true, series read as labelled, a page of what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.detection import __main__ as command
from benchmarks.detection import page, series, simulator
from benchmarks.detection.calibration import calibrated
from benchmarks.detection.detectors import ewma_three_sigma, random_control, reference_forest, stated_budget
from core.sensors import Sensor
from models.evaluation.evaluation import MARGIN
from models.evaluation.fault_models import KINDS
from models.scoring.history import History


@pytest.fixture(scope="module")
def plant() -> simulator.Plant:
    return simulator.faulty_plant(3, "plain")


def test_faults_lie_behind_the_training_and_well_apart(plant: simulator.Plant) -> None:
    labels = plant.labels
    assert labels.start_ms.min() > plant.history.event_ms[plant.training].max()
    assert labels.end_ms.max() <= plant.history.event_ms.max()
    for station in range(simulator.STATIONS):
        mine = labels.station == station
        pause = (labels.start_ms[mine][1:] - labels.end_ms[mine][:-1]) / 60_000
        assert pause.min() >= 3 * MARGIN
    cells = [sum(kind == name for kind in labels.kind) for name in KINDS]
    assert max(cells) - min(cells) <= len(simulator.MAGNITUDES)


def test_only_what_is_labelled_is_bent(plant: simulator.Plant) -> None:
    history, labels = plant.history, plant.labels
    ticks = len(history) // simulator.STATIONS
    healthy = simulator.healthy_plant(
        3, "plain", stations=simulator.STATIONS, ticks=ticks, training_ticks=0, cadence=60.0
    )
    bent = ~np.isclose(history.values, healthy.history.values, rtol=0, atol=1e-9, equal_nan=False).all(axis=1)
    codes, labelled = history.codes(), np.zeros(len(history), dtype=bool)
    for station, start, end in zip(labels.station, labels.start_ms, labels.end_ms, strict=True):
        labelled |= (codes == station) & (history.event_ms >= start) & (history.event_ms < end)
    assert not (bent & ~labelled).any()
    assert bent[labelled].mean() > 0.9
    assert history.station_ids[codes.tolist().index(7)] == "station-0007"


def test_the_same_seed_gives_the_same_plant(plant: simulator.Plant) -> None:
    again = simulator.faulty_plant(3, "plain")
    assert np.array_equal(again.history.values, plant.history.values, equal_nan=True)
    assert again.labels.kind == plant.labels.kind


def small_history(values: list[float]) -> History:
    n = len(values)
    times = np.arange(n) * 60_000
    return History(["s"] * n, times, times, np.arange(n), np.array(values, dtype=float).reshape(-1, 1))


def test_ewma_judges_a_reading_by_earlier_ones_only() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(20.0, 1.0, 400).tolist()
    sensors, training = (Sensor("value"),), np.arange(400) < 100
    plain, _ = ewma_three_sigma(small_history(values), training, sensors, 1.0, 0)
    values[300] = 60.0
    score, flagged = ewma_three_sigma(small_history(values), training, sensors, 1.0, 0)
    assert np.array_equal(score[:300], plain[:300])
    assert flagged[300]
    values[301] = float("nan")
    assert not ewma_three_sigma(small_history(values), training, sensors, 1.0, 0)[1][301]


def test_the_reference_flags_an_eighth_of_a_percent_of_its_training_rows() -> None:
    values = np.random.default_rng(0).normal(20.0, 1.0, 8000).tolist()
    training = np.arange(8000) < 4000
    _, flagged = reference_forest(20)(small_history(values), training, (Sensor("value"),), 1.0, 0)
    assert 1 <= flagged[training].sum() <= 5


def test_calibration_of_a_detector_that_keeps_its_budget() -> None:
    assert [stated_budget(1.0, cadence) for cadence in (60.0, 300.0, 15.0)] == [1.0, 0.2, 2.0]
    cell = calibrated(random_control, 300.0, 200, flavour="plain", seed=1, budget=1.0)
    assert cell["station_days"] == pytest.approx(300.0)
    assert 0.6 < cell["over_budget"] < 1.5


def write_series(folder: Path, window: list[str]) -> None:
    rows = [f"2015-01-01 {minute // 60:02d}:{minute % 60:02d}:00,{minute % 7}" for minute in range(0, 500, 5)]
    rows.insert(60, rows[60])  # an hour that the clock was set back: the same time twice
    (folder / "group__one.csv").write_text("\n".join(["timestamp,value", *rows]))
    (folder / "windows.json").write_text(json.dumps({"group__one.csv": [window]}))


def test_windows_are_found_by_their_times(tmp_path: Path) -> None:
    write_series(tmp_path, ["2015-01-01 05:00:00.000000", "2015-01-01 06:00:00.000000"])
    (one,) = series.read_series(tmp_path)
    assert (one.windows, one.cadence, one.learning) == ([(60, 73)], 300.0, 15)
    table = series.as_table([series.JudgedSeries(one, *hits(one, [20, 66]))])
    assert (table["windows"], table["windows_found"], table["one_threshold"]["false_rows"]) == (1, 1, 1)
    assert table["false_alarms_per_30_days"] == pytest.approx(30 / ((101 - 15 - 14) * 300 / 86_400))


def hits(one: series.NabSeries, rows: list[int]) -> tuple[np.ndarray, np.ndarray]:
    flagged = np.zeros(len(one.history), dtype=bool)
    flagged[rows] = True
    return flagged.astype(float), flagged


def test_a_window_beside_the_rows_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path, ["2015-01-01 05:02:00.000000", "2015-01-01 06:00:00.000000"])
    with pytest.raises(ValueError, match=r"group__one.csv: windows.json names 2015-01-01T05:02"):
        series.read_series(tmp_path)


def test_absent_series_are_said_and_left_out(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    # The part is measured in a process of its own.
    assert command.main(["--quick", "--parts", "nab", "--nab", str(tmp_path)]) == 0
    assert "--nab" in capfd.readouterr().out


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--parts", "simulator,hrad"])
    assert "hrad: expected some of simulator, hard, nab, calibration, ablation" in capsys.readouterr().err


def test_the_page_shows_every_part_and_the_aims(plant: simulator.Plant) -> None:
    said = simulator.judged_plant(random_control, plant, 1.0, 0)
    stamp = {"date": "2026-01-01", "commit": "abc"}
    table = simulator.as_table(said.evaluated())
    part = stamp | {"seeds": 1, "tables": {page.OURS: table}, "curve": {"1": 0.5}}
    ablation = stamp | {"seeds": 1, "tables": {"whole": {"simulator": table, "hard": table}}}
    text = page.page({"simulator": part, "hard": part, "ablation": ablation})
    for title in ("# How good", "## Aims", "plain plant", "hard plant", "## What each part is worth", "commit abc"):
        assert title in text
    assert "| plain: recall over all kinds and sizes" in text
    assert "**no**" in text
