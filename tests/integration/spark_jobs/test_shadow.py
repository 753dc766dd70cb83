"""A challenger judges beside the champion: a bounded sample, the same whatever the batches, that flags nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from core.sensors import DEFAULT_SENSORS
from core.times import HOUR_MS, MINUTE_MS
from models.scoring.detector import Detector
from models.scoring.feature_block import WITNESSES
from models.scoring.features import FEATURES
from models.scoring.isolation_forest import PackedForest
from models.scoring.shard_state import ShardState
from models.scoring.station_prior import Prior
from models.training.fit import fit_detector, fit_prior
from spark_jobs.tasks.activations import Activations
from spark_jobs.tasks.judged import Judged, Sinks
from spark_jobs.tasks.packing import ACCEPTED, REJECTED, STATIONS, ShardOutput
from spark_jobs.tasks.packing import MINUTES as MINUTE_SCHEMA
from spark_jobs.tasks.scoring_stage import Stage
from spark_jobs.tasks.shadow_scoring import SLOTS, Shadow
from storage.driver.session import Store, StoreConfig, connect
from storage.tables.shadow_samples import ShadowRow, shadowed, write_shadow
from tests.keyspaces import Keyspaces
from tests.simulated import simulated

CHAMPION, CHALLENGER = 3, 8


@pytest.fixture(scope="module")
def store(keyspaces: Keyspaces) -> Iterator[Store]:
    with keyspaces.lent() as settings, closing(connect(StoreConfig.from_settings(settings))) as opened:
        yield opened


@pytest.fixture(scope="module")
def fitted() -> tuple[Prior, Detector]:
    history = simulated(5, 500, stations=8)
    prior = fit_prior(history, DEFAULT_SENSORS, 1.0)
    rng = np.random.default_rng(1)
    forest, spec = fit_detector(history, DEFAULT_SENSORS, prior, trees=10, budget=1.0, rng=rng)
    return prior, Detector(spec, PackedForest.from_sklearn(forest, FEATURES))


@pytest.fixture(scope="module")
def judged(fitted: tuple[Prior, Detector]) -> Judged:
    """What a champion said of some hours, in whose second half spikes of two sizes come and go."""
    prior, detector = fitted
    history = simulated(5, 500, stations=8)
    history.values[8 * 250 :: 8 * 20, 0] += 8.0
    history.values[8 * 250 + 3 :: 8 * 20, 1] += 25.0
    blocks = ShardState(DEFAULT_SENSORS, prior).take(history).blocks
    n = len(history)
    accepted = pa.table(
        {
            "station_id": pa.array(history.station_ids).dictionary_encode(),
            "partition": np.zeros(n, np.int32),
            "offset": np.arange(n),
            "record_ms": history.event_ms,
            "event_ms": history.event_ms,
            "seq": history.seq,
            "ordinal": history.seq,
        },
        schema=ACCEPTED,
    )
    empty = [schema.empty_table() for schema in (REJECTED, MINUTE_SCHEMA, STATIONS)]
    output = ShardOutput(blocks, history.values, accepted, *empty)
    stage = Stage(
        DEFAULT_SENSORS, {CHAMPION: broadcast(detector)}, Activations({0: [(0, CHAMPION)]}), cast(Sinks, None)
    )
    return stage.judge(output)


def broadcast(detector: Detector) -> Any:
    return SimpleNamespace(value=detector.to_bytes())


def with_factors(detector: Detector, factor: float) -> Detector:
    """The same version, its witnesses so much harder to fire."""
    factors = {f"{witness}:{name}": factor for witness in WITNESSES for name in detector.spec.sensors}
    # The forest would fire in the place of a witness that was made harder.
    threshold = 1.0 if factor > 1.0 else detector.spec.forest_threshold
    spec = msgspec.structs.replace(detector.spec, factors=factors, forest_threshold=threshold)
    return Detector(spec, detector.forest)


def part(judged: Judged, rows: np.ndarray) -> Judged:
    """A task's part of the readings."""
    whole = judged.output
    output = replace(
        whole, blocks=whole.blocks.take(rows), measured=whole.measured[rows], accepted=whole.accepted.take(rows)
    )
    verdicts = replace(
        judged.verdicts,
        **{name: getattr(judged.verdicts, name)[rows] for name in ("score", "severity", "flags", "forest")},
    )
    return Judged(output, verdicts, judged.versions[rows], {})


def test_flips_are_counted_both_ways_and_by_no_batch_twice(
    store: Store, judged: Judged, fitted: tuple[Prior, Detector]
) -> None:
    """Breaks when counts depend on batches, order or replays, or one direction is mistaken for the other."""
    _, detector = fitted
    rng = np.random.default_rng(2)
    counts = []
    for version, factor in ((CHALLENGER, 20.0), (CHALLENGER + 1, 0.4), (CHALLENGER + 2, 1.0)):
        shadow = Shadow(version, broadcast(with_factors(detector, factor)), 1.0)
        whole = list(shadow.rows(judged))
        shuffled = rng.permutation(len(judged.versions))
        for batch in np.array_split(shuffled, 7):
            write_shadow(store, list(shadow.rows(part(judged, np.sort(batch)))))
        found = shadowed(store, version)
        write_shadow(store, whole)  # a replay
        assert shadowed(store, version) == found
        assert [(one.challenger, one.champion) for one in found] == [(version, CHAMPION)]
        expected = [row for row in whole if row.event_ms >= found[0].first_hour_ms]
        assert found[0].compared == len(expected)
        assert found[0].to_flagged == sum(row.to_flagged for row in expected)
        assert found[0].to_normal == sum(row.to_normal for row in expected)
        counts.append(found[0])
    assert counts[0].to_normal > 3 and counts[0].to_flagged == 0
    assert counts[1].to_flagged > 10 and counts[1].to_normal == 0
    assert (counts[2].to_flagged, counts[2].to_normal) == (0, 0)
    assert shadowed(store, 999) == []


def test_the_sample_is_bounded_and_a_share_of_it_is_a_part(judged: Judged, fitted: tuple[Prior, Detector]) -> None:
    """Breaks when load, not the minute, decides how many rows there are, or the share is not one of readings."""
    _, detector = fitted
    whole = list(Shadow(CHALLENGER, broadcast(detector), 1.0).rows(judged))
    per_slot = {(row.event_ms // MINUTE_MS, row.slot) for row in whole}
    assert len(per_slot) == len(whole)
    assert max(row.slot for row in whole) < SLOTS
    some = list(Shadow(CHALLENGER, broadcast(detector), 0.25).rows(judged))
    assert 0.15 * len(judged.versions) < len(some) < 0.35 * len(judged.versions)
    assert list(Shadow(CHALLENGER, broadcast(detector), 0.0).rows(judged)) == []
    assert list(Shadow(CHAMPION, broadcast(detector), 1.0).rows(judged)) == [], "not beside itself"


def test_a_challenger_that_cannot_judge_costs_only_itself(judged: Judged) -> None:
    """Breaks when a broken challenger ends the batch of the champion."""
    broken = cast(Any, SimpleNamespace(value=b"no detector"))
    Shadow(77, broken, 1.0).run(judged, cast(Sinks, None))


def test_hours_and_champions_are_kept_apart(store: Store) -> None:
    """Breaks when a challenger that outlived a champion is compared with the wrong one, or older hours are added."""
    start = 1_790_000_000_000 - 1_790_000_000_000 % HOUR_MS

    def row(hour: int, champion: int, flipped: bool) -> ShadowRow:
        return ShadowRow(50, champion, start + hour * HOUR_MS, 1, 5, "s1", 1, 0.5, 1.5, flipped, False)

    write_shadow(store, [row(hour, 1 if hour < 20 else 2, hour % 2 == 0) for hour in range(30)])
    newest, older = shadowed(store, 50)
    assert (newest.champion, newest.compared, newest.to_flagged) == (2, 10, 5)
    assert (older.champion, older.compared, older.first_hour_ms) == (1, 14, start + 6 * HOUR_MS)
