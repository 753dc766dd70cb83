"""A stored block gives its verdict again, also after promotions; two versions give equal faults equal severity."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import ArtefactRefused
from core.sensors import DEFAULT_SENSORS
from models.evaluation.fault_models import KINDS, bend_series
from models.explanation.replay import replay
from models.explanation.verdict_document import verdict_documents
from models.scoring.detector import Detector
from models.scoring.feature_block import Blocks, pack_row
from models.scoring.station_prior import Prior
from tests.unit.models.explained import NAMES, blocks_of, plant, version


@pytest.fixture(scope="module")
def versions() -> tuple[Prior, Detector, Detector]:
    """A champion and its successor, fitted on other stations and another seed, under the stream's one prior."""
    prior, first = version(plant(1))
    return prior, first, version(plant(8, stations=4, readings=2000), prior, seed=99)[1]


@pytest.fixture(scope="module")
def faulty(versions: tuple[Prior, Detector, Detector]) -> Blocks:
    """Blocks of a plant in which each station's second half has a fault of 8 sigma, one of each kind."""
    history = plant(4, stations=len(KINDS), readings=700)
    values = history.values.reshape(700, len(KINDS), 3)
    rng = np.random.default_rng(3)
    for station, kind in enumerate(KINDS):
        length = 2 if kind in ("spike", "dip") else 60
        values[:, station] = bend_series(
            values[:, station], sensor=station % 3, kind=kind, start=600, length=length, magnitude=8.0,
            sigma=(1.0, 3.0, 2.0)[station % 3], rng=rng,
        )  # fmt: skip
    return blocks_of(history, versions[0]).take(np.arange(600 * len(KINDS), 660 * len(KINDS)))


def test_a_stored_verdict_is_computed_again(versions: tuple[Prior, Detector, Detector], faulty: Blocks) -> None:
    """Breaks when a verdict depends on anything but block, catalogue and version: batch, order, later promotions."""
    _, first, second = versions
    for detector in (first, second):
        verdicts = detector.judge(faulty)
        documents = verdict_documents(detector, faulty, verdicts, DEFAULT_SENSORS)
        reread = Detector.from_bytes(detector.to_bytes())
        flagged = np.flatnonzero(verdicts.is_anomaly)
        assert len(flagged) > 100
        for row in flagged[::7].tolist():
            again = replay(reread, pack_row(faulty, row), DEFAULT_SENSORS)
            assert again.score == pytest.approx(verdicts.score[row], abs=1e-9)
            assert (again.severity, again.flags) == (verdicts.severity[row], verdicts.flags[row])
            assert again.document == documents[row]
            assert again.equals(float(verdicts.score[row]), int(verdicts.flags[row]))
            assert not again.equals(float(verdicts.score[row]) + 1e-6, int(verdicts.flags[row]))


def test_another_version_is_noticed(versions: tuple[Prior, Detector, Detector], faulty: Blocks) -> None:
    """Breaks when a replay by the wrong version passes for the right one: their forests differ."""
    _, first, second = versions
    row = pack_row(faulty, 0)
    assert replay(first, row, DEFAULT_SENSORS).document != replay(second, row, DEFAULT_SENSORS).document


def test_a_block_of_another_catalogue_is_refused(versions: tuple[Prior, Detector, Detector], faulty: Blocks) -> None:
    """Breaks when a block is read with sensors it was not written with."""
    with pytest.raises(ArtefactRefused, match="sensors"):
        replay(versions[1], pack_row(faulty, 0), DEFAULT_SENSORS[:2])
    with pytest.raises(ArtefactRefused, match="stored block"):
        replay(versions[1], b"", DEFAULT_SENSORS)


def test_equal_faults_get_equal_severity(versions: tuple[Prior, Detector, Detector], faulty: Blocks) -> None:
    """Breaks when a version's own training moves severities by more than 5 of 100."""
    _, first, second = versions
    assert first.spec.forest_typical != second.spec.forest_typical and faulty.sensors == NAMES
    by_first, by_second = first.judge(faulty), second.judge(faulty)
    both = by_first.is_anomaly & by_second.is_anomaly
    assert both.sum() > 100 and (by_first.is_anomaly == by_second.is_anomaly).mean() > 0.97
    apart = np.abs(by_first.severity[both] - by_second.severity[both])
    assert (apart <= 5.0).mean() >= 0.99, np.sort(apart)[-10:]
