"""The stream and the backtest say the same of the same readings, to the last bit."""

from __future__ import annotations

import csv
import json
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest

from core.reading import Validator
from core.sensors import DEFAULT_SENSORS
from core.verdict import Flag
from models.backtest import main
from models.evaluation.backtest import Model, chosen, first_readings, fitted
from models.scoring.history import History
from models.scoring.rules import IMPLAUSIBLE, MISSING, STUCK, rules_of
from models.scoring.shard_state import ShardState
from spark_jobs.tasks.activations import Activations
from spark_jobs.tasks.judged import Sinks
from spark_jobs.tasks.packing import unpack
from spark_jobs.tasks.scoring_stage import Stage
from spark_jobs.tasks.state_operator import Records, binary, take_records
from tests.unit.models.histories import make_history

NAMES = [sensor.name for sensor in DEFAULT_SENSORS]
SHARDS = 3
TREES, SEED, BUDGET = 25, 3, 1.0


def plant() -> History:
    """Five stations with faults, missing values, late and doubled readings."""
    rng = np.random.default_rng(11)
    history = make_history(rng, stations=5, readings=500)
    history.values[2000:2005, 0] += 30.0
    history.values[1500:1700:5, 1] = np.nan
    history.values[1803::5, 2] = 60.0
    history.values[2100, 0] = 90.0
    order = np.arange(len(history))
    order[1200:1210] = order[1200:1210][::-1]
    order[900:960] = np.roll(order[900:960], 17)
    doubled = np.insert(order, [700, 700, 2210], [690, 695, 2200])
    return chosen(history, doubled)


def documents(history: History) -> tuple[list[bytes], list[bytes]]:
    times = np.datetime_as_string(history.event_ms.astype("datetime64[ms]"))
    values = []
    for row, name in enumerate(history.station_ids):
        numbers = [None if np.isnan(value) else float(value) for value in history.values[row]]
        head = {"schema_version": 1, "station_id": name, "event_time": f"{times[row]}Z", "seq": int(history.seq[row])}
        values.append(json.dumps(head | dict(zip(NAMES, numbers, strict=True))).encode())
    return [name.encode() for name in history.station_ids], values


def identities_of(history: History) -> list[tuple[str, int, int]]:
    return list(zip(history.station_ids, history.event_ms.tolist(), history.seq.tolist(), strict=True))


def streamed(history: History, model: Model) -> dict[tuple[str, int, int], tuple[float, float, int]]:
    """Run the stream's own operator and scoring stage by hand, in batches, its state packed in between."""
    keys, values = documents(history)
    stage = Stage(
        sensors=DEFAULT_SENSORS,
        detectors={1: cast(Any, SimpleNamespace(value=model.detector.to_bytes()))},
        activations=Activations({0: [(0, 1)]}),
        sinks=cast(Sinks, None),
    )
    prior = type(model.prior).from_bytes(model.prior.to_bytes())
    packed = {shard: ShardState(DEFAULT_SENSORS, prior).to_bytes() for shard in range(SHARDS)}
    shards = np.array([zlib.crc32(key) % SHARDS for key in keys])
    said: dict[tuple[str, int, int], tuple[float, float, int]] = {}
    for begin, end in ((0, 611), (611, 640), (640, 1999), (1999, len(keys))):
        rows = []
        for shard in range(SHARDS):
            mine = np.arange(begin, end)[shards[begin:end] == shard]
            state = ShardState.from_bytes(packed[shard], DEFAULT_SENSORS, prior)
            records = Records(
                np.zeros(len(mine), np.int32),
                mine,
                history.event_ms[mine],
                binary([keys[row] for row in mine]),
                binary([values[row] for row in mine]),
            )
            rows.append(take_records(state, Validator(DEFAULT_SENSORS), records, flush=False).pack(shard))
            packed[shard] = state.to_bytes()
        output = unpack(pa.Table.from_pylist(rows).to_batches(), tuple(NAMES))
        assert output.rejected.num_rows == 0
        verdicts = stage.judge(output).verdicts
        identities = (output.accepted[name].to_pylist() for name in ("station_id", "event_ms", "seq"))
        columns = (verdicts.score.tolist(), verdicts.severity.tolist(), verdicts.flags.tolist())
        said.update(zip(zip(*identities, strict=True), zip(*columns, strict=True), strict=True))
    return said


def test_stream_and_backtest_give_equal_scores_and_verdicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when either of them learns, judges or rounds in a way of its own."""
    monkeypatch.chdir(tmp_path)
    history = plant()
    with (tmp_path / "in.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["station_id", "event_time", "seq", *NAMES])
        times = np.datetime_as_string(history.event_ms.astype("datetime64[ms]")).tolist()
        values = [["" if np.isnan(value) else value for value in row] for row in history.values.tolist()]
        for row, name in enumerate(history.station_ids):
            writer.writerow([name, times[row], history.seq[row], *values[row]])
    (tmp_path / "catalogue.json").write_text(
        json.dumps(
            [{"name": s.name, "plausible": s.plausible, "hard": s.hard, "resolution": 0.1} for s in DEFAULT_SENSORS]
        )
    )
    options = ["--train-rows", "200", "--trees", str(TREES), "--seed", str(SEED), "--false-alarm-budget", str(BUDGET)]
    files = ["--readings", "in.csv", "--out", "out.csv", "--catalogue", "catalogue.json"]
    assert main([*files, "--sensors", ",".join(NAMES), *options]) == 0

    first: dict[tuple[str, int, int], int] = {}
    for row, identity in enumerate(identities_of(history)):
        first.setdefault(identity, row)
    training = history_of_training(history, sorted(first.values()))
    stream = streamed(history, fitted(training, DEFAULT_SENSORS, budget=BUDGET, trees=TREES, seed=SEED))
    assert len(stream) == len(first) == len(history) - 3

    with (tmp_path / "out.csv").open(newline="") as file:
        said = list(csv.DictReader(file))
    assert len(said) == len(history)
    seen = 0
    for row, identity in enumerate(identities_of(history)):
        score, severity, flags = stream[identity]
        assert float(said[row]["score"]) == score
        assert (said[row]["is_anomaly"] == "true") == bool(flags & Flag.ANOMALY)
        assert float(said[row]["severity"]) == round(severity, 2)
        assert said[row]["rules"] == ";".join(rules_of(flags))
        assert (said[row]["state"] in ("late", "duplicate")) >= bool(flags & Flag.LATE)
        seen |= flags
    # Else equality would say little.
    assert all(seen & rule.bit for rule in (STUCK, MISSING, IMPLAUSIBLE)) and seen & Flag.LATE


def history_of_training(history: History, originals: list[int]) -> History:
    distinct = chosen(history, np.array(originals))
    return chosen(distinct, np.flatnonzero(first_readings(distinct, 200)))
