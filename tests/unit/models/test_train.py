"""`python -m models.train`: from a file to a champion, or one sentence that says what is wrong where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.errors import StationwatchError
from core.settings import Settings
from models.evaluation.recorded_history import read_history
from models.registry.registry import Registry
from models.train import main
from tests.unit.models.histories import make_history

SENSORS = Settings(_env_file=None).sensors
HEADER = "station_id,event_time,seq,temperature,humidity,noise\n"
GOOD = "s1,2026-11-21T10:15:04.250Z,1,21.4,48.2,61.0\n"


def frame_of(stations: int = 2, readings: int = 60) -> pd.DataFrame:
    history = make_history(np.random.default_rng(1), stations=stations, readings=readings)
    values = dict(zip(("temperature", "humidity", "noise"), history.values.T, strict=True))
    times = pd.to_datetime(history.event_ms, unit="ms", utc=True)
    return pd.DataFrame({"station_id": history.station_ids, "event_time": times, "seq": history.seq, **values})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STATIONWATCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("STATIONWATCH_FOREST_TREES", "10")
    return tmp_path


def test_trains_a_champion_once(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Breaks when the first start has no champion, or every start trains another."""
    frame_of().to_parquet(home / "history.parquet")
    command = ["--readings", str(home / "history.parquet"), "--if-no-champion"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "120 readings of 2 stations" in shown and "version 1 is champion" in shown
    assert main(command) == 0
    assert "champion already" in capsys.readouterr().out
    assert main([*command[:2], "--alias", "challenger"]) == 0
    settings = Settings(_env_file=None)
    registry = Registry(settings.tracking_uri, settings.model_name)
    champion, challenger = registry.champion(), registry.challenger()
    assert champion is not None and challenger is not None
    assert (champion.number, challenger.number) == (1, 2)


def test_unusable_history_leaves_status_2_and_one_sentence(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Breaks when a bad file ends in a traceback, or registers something."""
    (home / "history.csv").write_text(HEADER + GOOD + GOOD.replace("48.2", "4z.2"))
    assert main(["--readings", str(home / "history.csv")]) == 2
    shown = capsys.readouterr().err
    assert "history.csv: line 3, column humidity: '4z.2' is not a finite number" in shown
    assert shown.count("\n") == 1


def test_sensors_come_from_the_command(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Breaks when a plant with other sensors cannot be trained by configuration alone."""
    frame_of().rename(columns={"noise": "latency"}).to_csv(home / "history.csv", index=False)
    sensors = '[{"name": "latency", "unit": "ms"}]'
    assert main(["--readings", str(home / "history.csv"), "--sensors", sensors, "--alias", "none"]) == 0
    shown = capsys.readouterr().out
    assert "latency: spread" in shown and "temperature" not in shown


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_file_becomes_history(tmp_path: Path, suffix: str) -> None:
    """Breaks when a value, a time or the order of arrival changes between file and history."""
    frame = frame_of()
    frame.loc[5, "humidity"] = np.nan
    path = tmp_path / f"history{suffix}"
    shuffled = frame.sample(frac=1.0, random_state=1)
    shuffled.to_csv(path, index=False) if suffix == ".csv" else shuffled.to_parquet(path)
    history, impossible = read_history(path, SENSORS)
    assert impossible == 0 and len(history) == 120
    assert (np.diff(history.event_ms) >= 0).all() and history.event_ms[0] == 1_790_000_000_000
    assert history.values.dtype == np.float64 and np.isnan(history.values).sum() == 1
    frame["event_ms"] = [int(moment.timestamp() * 1000) for moment in frame["event_time"]]
    wanted = frame.set_index(["station_id", "event_ms"])
    for row in (0, 17, 119):
        found = wanted.loc[(history.station_ids[row], history.event_ms[row])]
        np.testing.assert_allclose(history.values[row], found[["temperature", "humidity", "noise"]].astype(float))
        assert history.seq[row] == found["seq"]


def test_impossible_readings_are_left_out_and_counted(tmp_path: Path) -> None:
    """Breaks when a value that the stream would never let in teaches the model."""
    (tmp_path / "h.csv").write_text(HEADER + GOOD + GOOD.replace("21.4", "-999"))
    history, impossible = read_history(tmp_path / "h.csv", SENSORS)
    assert (len(history), impossible) == (1, 1)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (HEADER + GOOD + GOOD.replace("s1", "bad id"), "line 3, column station_id: 'bad id'"),
        (HEADER + GOOD.replace("2026-11-21T10", "yesterday"), "line 2, column event_time: 'yesterday"),
        (HEADER + GOOD.replace("2026-11-21T10:15:04.250Z", "1795255000"), "line 2, column event_time: '1795255000'"),
        (HEADER + GOOD.replace(",1,", ",1.5,"), "line 2, column seq: '1.5' is not a whole number"),
        (HEADER + "\n" + GOOD.replace("61.0", "inf"), "line 3, column noise: 'inf' is not a finite number"),
        (HEADER + GOOD + GOOD.replace("61.0", "61.0,7"), "cannot be read"),
        (HEADER.replace("noise", "loudness") + GOOD, "column noise is missing; found: station_id"),
        (HEADER, "holds no readings"),
        ("", "cannot be read"),
    ],
)
def test_malformed_files_are_named_with_line_column_and_value(tmp_path: Path, text: str, sentence: str) -> None:
    """Breaks when somebody has to search a file of a million lines for the bad one."""
    path = tmp_path / "h.csv"
    path.write_text(text)
    with pytest.raises(StationwatchError) as caught:
        read_history(path, SENSORS)
    assert str(path) in str(caught.value) and sentence in str(caught.value)


@pytest.mark.parametrize("name", ["absent.csv", "absent.parquet", "history.txt"])
def test_absent_files_are_named(tmp_path: Path, name: str) -> None:
    """Breaks when a wrong path ends in a traceback."""
    with pytest.raises(StationwatchError, match=name):
        read_history(tmp_path / name, SENSORS)


def test_damaged_parquet_is_named(tmp_path: Path) -> None:
    """Breaks when a damaged file ends in a traceback."""
    (tmp_path / "h.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(StationwatchError, match="cannot be read"):
        read_history(tmp_path / "h.parquet", SENSORS)
