"""The words and numbers of the page and of the reference routes."""

from __future__ import annotations

import msgspec
import pytest

from api.http.times import ago, rfc3339
from api.pages.words import number as _number
from api.representations.legacy import LatestAnomalies
from core.sensors import DEFAULT_SENSORS, Sensor
from core.station_silence import is_silent, is_stale
from storage.tables.anomalies import AnomalyRow

ROW = AnomalyRow(
    "s-1", 1_795_256_104_250, 7, {"temperature": 41.2, "noise": 60.0}, 1.9, 82.4, 1, "{}", 9, None, 3, 0, 5, 0, 0, 0
)


def test_the_reference_shape() -> None:
    """Breaks when a field of the reference is renamed, dropped, or absent instead of null."""
    assert msgspec.to_builtins(LatestAnomalies(DEFAULT_SENSORS).from_row(ROW, "run")) == {
        "station_id": "s-1",
        "record_time": "2026-11-21T10:15:04.250Z",
        "humidity": None,
        "noise_level": 60.0,
        "temperature": 41.2,
        "is_outlier": True,
        "mlflow_id": "run",
    }


def test_another_catalogue_shows_under_its_own_names() -> None:
    """Breaks when a sensor that the reference did not know is hidden, or takes a reference field's place."""
    row = ROW._replace(sensors={"latency": 3.0})
    anomalies = LatestAnomalies((Sensor("latency", "ms"), Sensor("mlflow_id")))
    found = msgspec.to_builtins(anomalies.from_row(row, None))
    assert found["latency"] == 3.0
    assert found["mlflow_id"] is None
    assert (found["humidity"], found["noise_level"], found["temperature"]) == (None, None, None)


@pytest.mark.parametrize("time_ms", [0, 1, 999, 1_795_256_104_250, 253_402_300_799_999])
def test_times_keep_their_milliseconds(time_ms: int) -> None:
    """Breaks when a time is rounded through a float."""
    text = rfc3339(time_ms)
    assert text.endswith(f".{time_ms % 1000:03d}Z")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-7, "7 s ahead"), (-0.5, "now"), (0, "0 s ago"), (119, "119 s ago"), (120, "2 min ago"), (200_000, "2 d ago")],
)
def test_distances_in_words(seconds: float, text: str) -> None:
    """Breaks when a clock that is ahead is shown as the past, or units are mixed up."""
    assert ago(1_000_000_000, 1_000_000_000 + round(1000 * seconds)) == text


@pytest.mark.parametrize(
    ("interval", "quiet_seconds", "silent"),
    [(1.0, 59, False), (1.0, 61, True), (None, 59, False), (None, 61, True), (60.0, 299, False), (60.0, 301, True)],
)
def test_silence_follows_the_stations_own_pace(interval: float | None, quiet_seconds: int, silent: bool) -> None:
    """Breaks when a slow station is called silent between two readings, or a fast one never."""
    assert is_silent(0, interval, 1000 * quiet_seconds) is silent


def test_a_stream_without_a_sign_is_stale() -> None:
    """Breaks when blind is taken for quiet."""
    assert is_stale(None, 0, 30.0)
    assert is_stale(0, 30_001, 30.0)
    assert not is_stale(0, 30_000, 30.0)


@pytest.mark.parametrize(
    ("value", "resolution", "text"),
    [(None, 0.1, "–"), (21.44, 0.1, "21.4"), (21.0, 1.0, "21"), (3.14159, 0.0, "3.142"), (5.0, 0.05, "5.00")],
)
def test_values_show_the_digits_their_sensor_has(value: float | None, resolution: float, text: str) -> None:
    """Breaks when noise of the float is shown as if it had been measured."""
    assert _number(value, Sensor("x", resolution=resolution)) == text
