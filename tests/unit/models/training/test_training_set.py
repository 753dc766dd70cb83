"""What a retraining leaves out, with counts and reasons, and how much one station may say."""

from __future__ import annotations

import numpy as np
import pytest

from core.verdict import Flag
from models.scoring.feature_samples import Samples
from models.training.training_set import MOST_SHARE, usable, within_share
from storage.tables.feedback import FeedbackRow
from storage.tables.model_events import Maintenance
from tests.life import Life, lived

NOW_MS = 1_795_262_400_000


@pytest.fixture(scope="module")
def life() -> Life:
    return lived(NOW_MS)


def test_exclusions_are_counted_by_reason(life: Life) -> None:
    """Breaks when what people marked, maintenance, or a flagged reading is learnt, or a cleared one is not."""
    samples = Samples(
        life.samples.station_ids, life.samples.event_ms, np.zeros(len(life.samples), np.int32), life.samples.blocks
    )
    whole, base = usable(samples, [], [])
    teaching = {(name, int(time)) for name, time in zip(whole.station_ids, whole.event_ms, strict=True)}
    marked, expected, cleared = sorted(teaching)[100:103]
    samples.flags[[_place(samples, cleared), _place(samples, sorted(teaching)[200])]] = Flag.ANOMALY
    said = [
        FeedbackRow(*key, 0, verdict, "", 0, None, 1)
        for key, verdict in ((marked, "true_positive"), (expected, "expected"), (cleared, "false_positive"))
    ]
    hour = (int(samples.event_ms.min()), int(samples.event_ms.min()) + 86_400_000)
    kept, excluded = usable(samples, said, [Maintenance("s9", *hour, "cleaning")])
    assert excluded["marked_by_people"] == 2
    assert excluded["maintenance"] == 720
    assert excluded["anomalous"] == 1
    left = {(name, int(time)) for name, time in zip(kept.station_ids, kept.event_ms, strict=True)}
    assert cleared in left and marked not in left and expected not in left
    assert len(kept) + sum(excluded.values()) == len(samples) and base


def _place(samples: Samples, key: tuple[str, int]) -> int:
    return next(
        row
        for row, found in enumerate(zip(samples.station_ids, samples.event_ms.tolist(), strict=True))
        if found == key
    )


@pytest.mark.parametrize(("stations", "largest"), [(40, 20_000), (8, 3000), (2, 100), (1, 50)])
def test_no_station_holds_more_than_its_share(stations: int, largest: int) -> None:
    """Breaks when one chatty station decides what normal looks like, or a station is left out altogether."""
    names = [f"s{number}" for number in range(1, stations) for _ in range(100)] + ["s0"] * largest
    keep = within_share(names)
    kept = [name for name, stays in zip(names, keep, strict=True) if stays]
    share = kept.count("s0") / len(kept)
    assert share <= max(MOST_SHARE, min(1.0, 3.0 / stations)) + 0.01
    assert set(kept) == set(names)
    assert kept.count("s1") == (100 if stations > 1 else 0)
