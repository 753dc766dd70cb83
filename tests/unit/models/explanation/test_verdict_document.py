"""Explanations of flagged readings: shares, causes, sentences, actions, and the document they end in."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.explanations import fitted_to, hints, looked_at, ranking, with_faults
from core.errors import StationwatchError
from core.sensors import DEFAULT_SENSORS, Sensor
from models.explanation.baseline_substitution import departure, substituted
from models.explanation.cause import HINTS
from models.explanation.contributions import contributions
from models.explanation.counterfactual import smallest_change
from models.explanation.recommended_actions import DIRECTIONS, NONE, read_actions, reviewed_actions
from models.explanation.sentence import at_least
from models.explanation.shap_values import shap_values
from models.explanation.verdict_document import verdict_documents
from models.scoring.detector import Detector
from models.scoring.feature_block import Blocks
from models.scoring.station_prior import Prior
from tests.unit.models.explained import NAMES, blocks_of, calm, plant, show, version

Made = tuple[Prior, Detector]


@pytest.fixture(scope="module")
def made() -> Made:
    return version(plant(1))


def told(detector: Detector, blocks: Blocks, sensors: tuple[Sensor, ...] = DEFAULT_SENSORS) -> dict[str, Any]:
    return json.loads(verdict_documents(detector, blocks, detector.judge(blocks), sensors)[0])


def hot(names: tuple[str, ...] = NAMES) -> Blocks:
    """Temperature far above typical for this one reading."""
    blocks = show(calm(1, names), 0, value=41.2, typical=25.1, lower=19.2, upper=31.0)
    return show(blocks, 0, innovation=2.6, level=2.7, band_12=1.2, cross_band=2.0)


def test_the_sentence_of_the_contract(made: Made) -> None:
    """Breaks when the sentence is another one than api.md shows for this reading."""
    said = told(made[1], hot())
    assert said["explanation"] == (
        "Temperature 41.2 °C is 16.1 above typical 25.1 (normal 19.2–31.0); humidity and noise normal."
    )
    first = said["sensors"][0]
    assert first == {
        "name": "temperature", "unit": "Cel", "actual": 41.2, "typical": 25.1, "lower": 19.2, "upper": 31.0,
        "direction": "above", "contribution": 1.0,
    }  # fmt: skip
    assert said["cause"]["hint"] == "sensor_fault" and "alone" in said["cause"]["evidence"]
    assert "thermometer" in said["action"]["text"]
    assert 0.0 < said["p_value"] < 0.02


def test_members_of_the_document(made: Made) -> None:
    """Breaks when a witness's score, threshold or verdict is not the one it was judged by."""
    blocks = show(hot(), 1, level_48=-1.4)
    blocks.witness("level_48", "h")[:, 1] = 1.7
    said = told(made[1], blocks)
    assert list(said) == ["sensors", "witnesses", "rules", "explanation", "cause", "action", "p_value"]
    witnesses = {one["name"]: one for one in said["witnesses"]}
    assert len(witnesses) == 31 and said["rules"] == []
    assert witnesses["level:temperature"] == {
        "name": "level:temperature", "score": 2.7, "threshold": 1.0, "fired": True,
    }  # fmt: skip
    assert witnesses["level_48:humidity"] == {
        "name": "level_48:humidity", "score": 1.4, "threshold": 1.7, "fired": False,
    }  # fmt: skip
    forest = made[1].judge(blocks).forest[0]
    assert witnesses["iforest"]["score"] == pytest.approx(forest, abs=1e-4)
    assert witnesses["iforest"]["fired"] == (forest > made[1].spec.forest_threshold)


@pytest.mark.parametrize(
    ("sensor", "columns", "sentence", "hint"),
    [
        (1, {"value": math.nan, "quality": 1.0, "missing_run": 12.0},
         "Humidity is missing, for 12 readings (3 are usual at most); temperature and noise normal.", "sensor_fault"),
        (2, {"run": 42.0},
         "Noise has shown 65.0 dB for 42 readings in a row (10 are usual at most); temperature and humidity normal.",
         "sensor_fault"),
        (0, {"value": 99.0, "quality": 2.0, "level": 9.0},
         "Temperature 99.0 °C is outside its plausible range (-40.0 to 85.0); humidity and noise normal.",
         "sensor_fault"),
        (0, {"noise": 1.8, "value": 23.0},
         "Temperature 23.0 °C is 1.0 above typical 22.0 (normal 16.0–28.0) and is far more restless than usual; "
         "humidity and noise normal.", "sensor_fault"),
        (2, {"level_48": -2.0, "level": -0.4, "value": 63.0, "cross_level": 1.4},
         "Noise 63.0 dB is 2.0 below typical 65.0 (normal 59.0–71.0) and has lately been too low; "
         "temperature and humidity normal.", "sensor_fault"),
        (1, {"cross_level": 1.9, "level_48": 0.4},
         "Humidity 48.0 % is at typical 48.0 (normal 42.0–54.0) and does not fit the other sensors; "
         "temperature and noise normal.", "sensor_fault"),
    ],
)  # fmt: skip
def test_what_is_said_of_each_kind(
    made: Made, sensor: int, columns: dict[str, float], sentence: str, hint: str
) -> None:
    """Breaks when a sentence does not name what, how far and what the others do, or the hint is another."""
    said = told(made[1], show(calm(), sensor, **columns))
    assert said["explanation"] == sentence
    assert said["cause"]["hint"] == hint
    assert [one["contribution"] for one in said["sensors"]][sensor] == 1.0


def test_a_gap_is_nobodys_doing(made: Made) -> None:
    """Breaks when a sensor is blamed for what the station did not send."""
    said = told(made[1], show(calm(), elapsed=1800.0))
    assert said["explanation"].startswith("Nothing arrived for 1800 s (600 s are usual at most); temperature, humidity")
    assert said["rules"] == ["gap"] and said["cause"]["hint"] == "sensor_fault"
    assert sum(one["contribution"] for one in said["sensors"]) == pytest.approx(1.0)
    assert max(one["contribution"] for one in said["sensors"]) < 0.34


@pytest.mark.parametrize(("other", "hint"), [(1, "environment"), (2, "process")])
def test_sensors_that_move_together_are_no_sensor_fault(made: Made, other: int, hint: str) -> None:
    """Breaks when the hall is taken for a broken sensor."""
    blocks = show(show(hot(), 0, cross_band=0.5), other, level=-1.9, innovation=-1.8)
    said = told(made[1], blocks)
    assert said["cause"]["hint"] == hint and NAMES[other] in said["cause"]["evidence"]
    assert f"{NAMES[other]} departs too" in said["explanation"]


def test_a_lone_sensor_gives_no_hint() -> None:
    """Breaks when one sensor alone, which nothing can be compared with, is called broken."""
    sensors, history = (Sensor("value", resolution=0.1),), plant(3)
    alone = type(history)(history.station_ids, history.event_ms, history.record_ms, history.seq, history.values[:, :1])
    blocks = show(calm(1, ("value",)), 0, value=19.0, level=3.0, innovation=3.0)
    said = told(version(alone, sensors=sensors)[1], blocks, sensors)
    assert said["cause"]["hint"] == "unknown" and said["action"]["text"] == NONE
    assert said["explanation"] == "Value 19.0 is 9.0 above typical 10.0 (normal 4.0–16.0)."
    assert said["sensors"][0]["contribution"] == 1.0


def test_an_unflagged_reading_has_no_cause(made: Made) -> None:
    """Breaks when /predict blames somebody for a normal reading."""
    said = told(made[1], calm())
    assert said["cause"]["hint"] == "unknown" and said["action"]["text"] == NONE


def test_at_least_is_never_too_long() -> None:
    """Breaks when a station that was normal before is said to have been unusual for longer than it was."""
    for readings in (1, 10, 40, 200):
        lasting = 0.5
        for _ in range(readings):
            lasting += (1.0 - math.exp(-1.0 / 30.0)) * (3.0 - lasting)
        assert readings // 2 <= at_least(lasting) + 2 <= readings + 2
    assert at_least(0.4) == 0


def test_faults_of_a_plant_are_put_down_to_the_bent_sensor(made: Made) -> None:
    """Breaks when the share of the bent sensor is not the largest, or differs from exact Shapley values in rank."""
    bent, model = plant(5, readings=900), made
    rng = np.random.default_rng(2)
    rows, sensor = np.arange(len(bent) - 12, len(bent)), rng.integers(0, 3, 12)
    bent.values[rows, sensor] += np.array([1.0, 3.0, 2.0])[sensor] * rng.choice([-9.0, 9.0], 12)
    blocks = blocks_of(bent, model[0]).take(rows[6:])
    assert model[1].judge(blocks).is_anomaly.all()
    shares, exact = contributions(model[1], blocks), shap_values(model[1], blocks)
    assert (shares.argmax(axis=1) == sensor[6:]).all() and (exact.argmax(axis=1) == sensor[6:]).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)


def test_simulated_faults_are_explained() -> None:
    """Breaks when explanations get worse than the aims: first sensor 95 %, hint 80 %; bounds a little looser."""
    whole, spans = with_faults(11, "plain")
    model = fitted_to(whole, 11, 50)
    looked = looked_at(model, whole, spans, each=2)
    *ranked, agreement = ranking(model.detector, looked)
    assert all(float(line.split(": ")[1].split(" of")[0]) >= 0.93 for line in ranked), ranked
    assert float(agreement.split(": ")[1].split(";")[0]) >= 0.9
    every = hints(model.detector, looked, "sensor_fault")[-1]
    assert float(every.split(" at ")[1].split(" of")[0]) >= 0.8, every


@given(ratios=st.lists(st.floats(-6, 6), min_size=9, max_size=9))
@settings(max_examples=40, deadline=None)
def test_exact_values_are_shapleys(ratios: list[float]) -> None:
    """Breaks when a weight is wrong: against the mean over all orders, and their sum against the whole."""
    detector = _once()
    blocks = calm()
    for place, ratio in enumerate(ratios):
        show(blocks, place // 3, **{("level", "band_12", "cross_band")[place % 3]: ratio})

    def far(kept: frozenset[int]) -> float:
        some = np.array([[sensor in kept for sensor in range(3)]])
        return float(departure(detector.judge(substituted(blocks, some)))[0])

    expected = np.zeros(3)
    for order in itertools.permutations(range(3)):
        for place, sensor in enumerate(order):
            expected[sensor] += (far(frozenset(order[: place + 1])) - far(frozenset(order[:place]))) / 6.0
    exact = shap_values(detector, blocks)[0]
    np.testing.assert_allclose(exact, expected, atol=1e-9)
    assert exact.sum() == pytest.approx(far(frozenset((0, 1, 2))) - far(frozenset()), abs=1e-9)


_made: list[Detector] = []


def _once() -> Detector:
    if not _made:
        _made.append(version(plant(1))[1])
    return _made[0]


def test_drawn_orders_come_close_and_need_an_rng(made: Made) -> None:
    """Breaks when many sensors are refused without saying why, or the drawn values do not add up."""
    names = (*NAMES, *(f"more_{number}" for number in range(7)))
    blocks = show(hot(names), 4, level=-1.8)
    with pytest.raises(ValueError, match="10 sensors are too many"):
        shap_values(made[1], blocks)
    drawn = shap_values(made[1], blocks, rng=np.random.default_rng(1), orders=40)[0]
    assert drawn.argmax() == 0 and drawn[4] > 0.1 and np.abs(np.delete(drawn, [0, 4])).max() < 0.1
    whole = departure(made[1].judge(blocks))[0]
    nothing = departure(made[1].judge(substituted(blocks, np.zeros((1, 10), bool))))[0]
    assert drawn.sum() == pytest.approx(whole - nothing)


def test_of_the_forest_alone(made: Made) -> None:
    """Breaks when the forest's values are the verdict's: the forest cannot see a stuck sensor."""
    stuck = show(calm(), 2, run=42.0)
    assert shap_values(made[1], stuck)[0, 2] > 0.9
    assert np.ptp(shap_values(made[1], stuck, of="forest")) < 1e-9
    assert shap_values(made[1], hot(), of="forest")[0].argmax() == 0


def test_smallest_change_ends_where_it_says(made: Made) -> None:
    """Breaks when the reading with the changed value is still flagged, or a far smaller change would have done."""
    spiked = plant(6, readings=600)
    spiked.values[-6:, 0] += 10.0
    blocks = blocks_of(spiked, made[0]).take(np.arange(len(spiked) - 6, len(spiked)))
    changes = smallest_change(made[1], blocks, DEFAULT_SENSORS)
    for part, normal in ((1.0, True), (0.4, False)):
        changed = plant(6, readings=600)
        for row, change in enumerate(changes):
            assert change is not None and change.sensor == "temperature" and change.change is not None
            changed.values[row - 6, 0] = spiked.values[row - 6, 0] + part * change.change
        after = blocks_of(changed, made[0]).take(np.arange(len(spiked) - 6, len(spiked)))
        assert (~made[1].judge(after).is_anomaly == normal).mean() >= 5 / 6


def test_no_single_change_where_two_depart_or_it_lasts(made: Made) -> None:
    """Breaks when a change is promised that cannot help."""
    two = show(hot(), 1, level=3.0, innovation=3.0)
    lasts = show(calm(), 0, level_48=2.0, level=0.5, value=25.0)
    gap = show(calm(), elapsed=1800.0)
    for blocks in (two, lasts, gap):
        assert smallest_change(made[1], blocks, DEFAULT_SENSORS) == [None]


def test_a_stuck_sensor_has_to_move_by_a_step_and_a_missing_one_to_report(made: Made) -> None:
    """Breaks when no change, or none that the sensor can report, is said to be enough."""
    stuck = smallest_change(made[1], show(calm(), 2, run=42.0, value=66.0), DEFAULT_SENSORS)[0]
    assert stuck is not None and stuck.sensor == "noise" and 0.1 <= abs(stuck.change or 0.0) <= 0.3
    absent = show(calm(), 1, value=math.nan, quality=1.0, missing_run=9.0)
    missing = smallest_change(made[1], absent, DEFAULT_SENSORS)[0]
    assert missing == ("humidity", None, 48.0, None)


def test_every_row_of_the_table_can_be_reached() -> None:
    """Breaks when a row names a direction or hint that no reading has, or an earlier row hides it."""
    table = reviewed_actions()
    sensors, known = [*NAMES, "other"], set()
    for sensor, direction, hint in itertools.product(sensors, DIRECTIONS, HINTS):
        known.add(table.recommended(sensor, direction, hint))
    assert {row.text for row in table.actions} | {NONE} == known
    assert set(table.surroundings) <= set(NAMES)
    assert table.recommended("temperature", "above", "unknown") == NONE


def test_an_edited_table_is_used_and_a_wrong_one_refused(made: Made) -> None:
    """Breaks when plants cannot have their own actions, or a typing error passes in silence."""
    row = {"sensor": "temperature", "direction": "*", "hint": "*", "text": "Call Ann."}
    table = read_actions(msgspec.json.encode({"surroundings": [], "actions": [row]}))
    blocks = hot()
    document = verdict_documents(made[1], blocks, made[1].judge(blocks), DEFAULT_SENSORS, table)[0]
    assert json.loads(document)["action"] == {"text": "Call Ann."}
    wrong = msgspec.json.encode({"surroundings": [], "actions": [{**row, "direction": "up"}]})
    with pytest.raises(StationwatchError, match=r"plant\.json .*'up'.*direction"):
        read_actions(wrong, "plant.json")
