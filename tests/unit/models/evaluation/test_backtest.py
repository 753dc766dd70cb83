"""The backtest judges every row, in its order, by what came before; poor training readings leave it an answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.errors import StationwatchError
from core.sensors import DEFAULT_SENSORS, Sensor
from core.verdict import Flag
from models.evaluation import backtest as module
from models.evaluation.backtest import (
    DUPLICATE,
    IMPOSSIBLE,
    LATE,
    STABLE,
    TRAINING,
    Backtest,
    backtest,
    chosen,
    first_readings,
    readings_before,
    sensors_of,
)
from models.scoring.history import History
from models.scoring.rules import IMPLAUSIBLE
from tests.unit.models.histories import START_MS, make_history

SENSORS = sensors_of(("a", "b", "c"))


def judged(history: History, training: np.ndarray, sensors: tuple[Sensor, ...] = SENSORS, seed: int = 7) -> Backtest:
    return backtest(history, training, sensors, budget=1.0, trees=20, seed=seed)


def joined(*parts: History) -> History:
    names = [name for part in parts for name in part.station_ids]
    columns = (np.concatenate([getattr(part, field) for part in parts]) for field in ("event_ms", "seq", "values"))
    event_ms, seq, values = columns
    return History(names, event_ms, event_ms, seq, values)


COLUMNS = ("score", "severity", "flags", "forest", "state")


def same(first: Backtest, second: Backtest) -> None:
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


def head(result: Backtest, end: int) -> Backtest:
    return replace(result, **{name: getattr(result, name)[:end] for name in COLUMNS})


@pytest.fixture(scope="module")
def plant() -> tuple[History, np.ndarray, Backtest]:
    history = make_history(np.random.default_rng(1), stations=4, readings=400)
    training = first_readings(history, 200)
    return history, training, judged(history, training)


def test_each_row_has_a_finite_score_and_the_training_rows_are_known(plant: tuple) -> None:
    """Breaks when a row is lost, or its score is no number."""
    history, training, result = plant
    assert len(result.score) == len(history) == 1600 and np.isfinite(result.score).all()
    assert training.sum() == 800 and (result.state[training] == TRAINING).all()
    assert (result.state[~training] == STABLE).all()
    assert (result.flagged <= (result.score > 1)).all() and ((result.severity > 0) == result.flagged).all()


def test_same_seed_same_verdicts_and_another_seed_others(plant: tuple) -> None:
    """Breaks when something is drawn from anything but the seed."""
    history, training, result = plant
    same(result, judged(history, training))
    assert (judged(history, training, seed=8).forest != result.forest).any()


@pytest.mark.parametrize("end", [801, 1234])
def test_a_verdict_depends_on_earlier_rows_only(plant: tuple, end: int) -> None:
    """Breaks when anything behind a row reaches its verdict, such as a rank over the whole file."""
    history, training, result = plant
    same(judged(chosen(history, np.arange(end)), training[:end]), head(result, end))
    rough = chosen(history, np.arange(len(history)))
    rough.values[end:] += 100.0
    same(head(judged(rough, training), end), head(result, end))


def test_the_size_of_a_part_does_not_matter(plant: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when something is lost or doubled where two parts meet."""
    history, training, result = plant
    monkeypatch.setattr(module, "_VALUES", 333)
    same(judged(history, training), result)


def test_progress_adds_up_to_all_rows(plant: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when the bar stops short of its end, or duplicates push it beyond."""
    history, training, _ = plant
    doubled = joined(history, chosen(history, np.arange(100)))
    monkeypatch.setattr(module, "_VALUES", 333)
    done: list[int] = []
    mask = np.append(training, np.zeros(100, bool))
    backtest(doubled, mask, SENSORS, budget=1.0, trees=5, seed=1, progress=done.append)
    assert sum(done) == 1700 and len(done) > 2


@pytest.mark.parametrize("back", [1, 40, 300])
def test_a_second_row_of_an_identity_repeats_the_first_verdict(plant: tuple, back: int) -> None:
    """Breaks when a duplicate further back than the ring of the state counts as late, or moves a statistic."""
    history, training, result = plant
    again = chosen(history, np.arange(1200 - back, 1200))
    again.values[:] += 50.0  # what it says does not count, only which reading it claims to be
    rows = joined(chosen(history, np.arange(1200)), again, chosen(history, np.arange(1200, 1600)))
    mask = np.concatenate([training[:1200], np.zeros(back, bool), training[1200:]])
    found = judged(rows, mask)
    assert (found.state[1200 : 1200 + back] == DUPLICATE).all()
    for name in ("score", "severity", "flags"):
        values = getattr(found, name)
        np.testing.assert_array_equal(values[1200 : 1200 + back], values[1200 - back : 1200])
        np.testing.assert_array_equal(np.delete(values, np.arange(1200, 1200 + back)), getattr(result, name))


def test_seq_tells_readings_of_one_time_apart() -> None:
    """Breaks when identity is (station, time) although there is a seq: the second reading would not be judged."""
    history = make_history(np.random.default_rng(2), stations=1, readings=100)
    pair = replace(history, event_ms=np.repeat(history.event_ms[:50], 2))
    pair = replace(pair, record_ms=pair.event_ms)
    training = np.zeros(100, bool)
    assert (judged(pair, training).state[1::2] == LATE).all()
    assert (judged(replace(pair, seq=np.zeros(100, np.int64)), training).state[1::2] == DUPLICATE).all()


def test_late_rows_are_judged_and_teach_nothing(plant: tuple) -> None:
    """Breaks when rows are sorted before they are judged, or when a late one moves what follows."""
    history, training, result = plant
    late = chosen(history, np.arange(900, 901))
    late = replace(late, event_ms=late.event_ms - 300_500, record_ms=late.event_ms - 300_500)
    late.values[:] += 40.0
    rows = joined(chosen(history, np.arange(1000)), late, chosen(history, np.arange(1000, 1600)))
    found = judged(rows, np.insert(training, 1000, False))
    assert found.state[1000] == LATE and found.flagged[1000]
    np.testing.assert_array_equal(np.delete(found.score, 1000), result.score)


def test_first_readings_count_no_duplicates_and_each_station_for_itself() -> None:
    """Breaks when a duplicate uses up a station's training, or N is counted over the plant."""
    names = ["s", "s", "t", "s", "s", "t"]
    event_ms = np.array([1, 1, 5, 2, 3, 4], np.int64)
    history = History(names, event_ms, event_ms, np.zeros(6, np.int64), np.zeros((6, 1)))
    assert first_readings(history, 2).tolist() == [True, True, True, True, False, True]
    assert not first_readings(history, 0).any()


def test_training_until_a_time_ends_with_the_first_later_arrival() -> None:
    """Breaks when a late row trains the model that judged an earlier row, behind the training."""
    names = ["s", "s", "s", "s", "t"]
    event_ms = np.array([1, 5, 2, 6, 2], np.int64)
    history = History(names, event_ms, event_ms, np.arange(5), np.zeros((5, 1)))
    assert readings_before(history, 5).tolist() == [True, False, False, False, True]


def test_a_fault_of_a_station_without_training_rows_is_seen(plant: tuple) -> None:
    """Breaks when a station that did not train has no limits."""
    history, training, _ = plant
    fresh = make_history(np.random.default_rng(3), stations=1, readings=200, start_ms=START_MS)
    fresh = replace(fresh, station_ids=["Ä-3 new"] * 200)
    fresh.values[150, 1] += 15.0
    result = judged(joined(history, fresh), np.append(training, np.zeros(200, bool)))
    assert result.flagged[1600 + 150] and result.score[1600:].argmax() == 150


def _poor(kind: str) -> tuple[History, np.ndarray]:
    history = make_history(np.random.default_rng(4), stations=2, readings=150)
    training = first_readings(history, 25)
    values = history.values
    if kind == "none":
        training[:] = False
    elif kind == "one":
        training = np.arange(300) == 0
    elif kind == "all":
        training[:] = True
    elif kind == "constant":
        values[:] = 5.0
    elif kind == "one constant":
        values[:, 1] = 0.0
    elif kind == "missing":
        values[:] = np.nan
    elif kind == "one missing":
        values[:, 1] = np.nan
    elif kind == "missing in training":
        values[training, 0] = np.nan
    elif kind == "alternating":
        values[np.arange(300) % 3 != 0, 0] = np.nan
        values[np.arange(300) % 3 == 0, 1:] = np.nan
    elif kind == "huge":
        values[:] *= 1e13
    elif kind == "beyond float32":
        values[::7] = 1e300
    elif kind == "denormal":
        values[:] *= 1e-310
    elif kind == "two values":
        values[:] = np.arange(900).reshape(300, 3) % 2
    return history, training


POOR = (
    "none", "one", "all", "constant", "one constant", "missing", "one missing", "missing in training", "alternating",
    "huge", "beyond float32", "denormal", "two values",
)  # fmt: skip


@pytest.mark.parametrize("kind", POOR)
def test_poor_readings_get_an_answer(kind: str) -> None:
    """Breaks when data that teach little end in an error, a warning or a score that is no number."""
    history, training = _poor(kind)
    result = judged(history, training)
    assert np.isfinite(result.score).all() and np.isfinite(result.severity).all()
    assert (result.severity <= 100).all() and (result.score >= 0).all()


def test_values_that_no_sensor_has_are_implausible_and_touch_nothing_else(plant: tuple) -> None:
    """Breaks when a number that float32 cannot hold, or a logger's code for no value, poisons its station."""
    history, training, result = plant
    odd = chosen(history, np.arange(1000, 1100))
    odd = replace(odd, event_ms=odd.event_ms + 500, record_ms=odd.event_ms + 500)
    odd.values[:, 1] = -1.7e308
    rows = joined(chosen(history, np.arange(1100)), odd, chosen(history, np.arange(1100, 1600)))
    found = judged(rows, np.insert(training, 1100, np.zeros(100, bool)))
    among = slice(1100, 1200)
    assert (found.flags[among] == Flag.ANOMALY | IMPLAUSIBLE.bit).all() and (found.state[among] == IMPOSSIBLE).all()
    assert (found.score[among] > 1.0).all() and (found.severity[among] > 0.0).all()
    np.testing.assert_array_equal(np.delete(found.score, np.arange(1100, 1200)), result.score)


def test_any_column_is_a_sensor() -> None:
    """Breaks when the name of a column has to be one that the stream's JSON could hold."""
    names = ("temperature", "Temp (°C)", "column_2", "schema_version", "x" * 40)
    sensors = sensors_of(names, DEFAULT_SENSORS)
    assert sensors[0] == DEFAULT_SENSORS[0]
    assert len({sensor.name for sensor in sensors}) == 5 and sensors[2].name == "column_2"
    assert all(sensor.plausible == (-1e15, 1e15) for sensor in sensors[1:])


@pytest.mark.parametrize("names", [("a", "a"), ("event_time",), ("a", "seq")])
def test_columns_that_are_no_sensors_are_refused(names: tuple[str, ...]) -> None:
    """Breaks when the time of a reading is judged as a value, or one sensor twice."""
    with pytest.raises(StationwatchError, match=names[-1]):
        sensors_of(names)


def test_a_file_in_the_wrong_order_is_told(plant: tuple) -> None:
    """Breaks when somebody whose file has the newest row first is left with verdicts that learnt nothing."""
    history, training, result = plant
    assert result.notes == ()
    turned = chosen(history, np.arange(len(history))[::-1])
    assert any("late" in note for note in judged(turned, training).notes)
