"""An artefact loads only as what was registered; whatever else is refused, and never unpickled."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import skops.io
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LinearRegression

from core.errors import ArtefactRefused
from core.sensors import DEFAULT_SENSORS
from models.scoring.artefact import FOREST, Artefact, load, pack, sha256_of
from models.scoring.detector import Spec
from models.scoring.features import FEATURES
from models.scoring.shard_state import ShardState
from models.scoring.station_prior import Prior
from models.training.fit import fit_detector, fit_prior
from tests.oracle.bad_artefacts import Sentinel, altered, with_features, with_pickled_arrays, with_spec
from tests.unit.models.histories import make_history

Fitted = tuple[IsolationForest, Spec, Prior]


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    history = make_history(np.random.default_rng(1), stations=3, readings=200)
    prior = fit_prior(history, DEFAULT_SENSORS, 1.0)
    rng = np.random.default_rng(7)
    return *fit_detector(history, DEFAULT_SENSORS, prior, trees=20, budget=1.0, rng=rng), prior


@pytest.fixture(scope="module")
def artefact(fitted: Fitted) -> bytes:
    return pack(*fitted)


def test_loaded_detector_judges_like_the_fitted_one(artefact: bytes, fitted: Fitted) -> None:
    """Breaks when packing loses a digit of a tree, the spec or the prior."""
    forest, spec, prior = fitted
    loaded = load(artefact, sha256_of(artefact))
    assert loaded.detector.spec == spec
    assert loaded.prior.to_bytes() == prior.to_bytes()
    assert loaded.sha256 == sha256_of(artefact)
    rows = np.random.default_rng(2).normal(size=(500, forest.n_features_in_))
    with pytest.warns(UserWarning, match="feature names"):
        expected = -forest.score_samples(rows)
    np.testing.assert_allclose(loaded.detector.forest.anomaly_score(rows), expected, atol=1e-12)
    blocks = ShardState(DEFAULT_SENSORS, prior).take(make_history(np.random.default_rng(3), readings=20)).blocks
    assert len(loaded.detector.judge(blocks).score) == 100


def test_equal_parts_give_equal_bytes(artefact: bytes) -> None:
    """Breaks when the container holds a date or an order of its own: its sha256 is the version's identity."""
    assert Artefact.from_bytes(artefact, sha256_of(artefact)).to_bytes() == artefact


def test_any_flipped_byte_is_refused(artefact: bytes) -> None:
    """Breaks when the hash is not compared, or only after something was read."""
    rng = np.random.default_rng(4)
    for at in rng.integers(0, len(artefact), 20):
        flipped = bytearray(artefact)
        flipped[at] ^= 1 << int(rng.integers(8))
        with pytest.raises(ArtefactRefused, match="was not opened"):
            load(bytes(flipped), sha256_of(artefact))


def test_no_expected_hash_is_no_pass(artefact: bytes) -> None:
    """Breaks when an absent tag counts as agreement."""
    with pytest.raises(ArtefactRefused, match="expected one"):
        load(artefact, "")


@pytest.mark.parametrize("registered", [False, True])
def test_pickle_is_never_unpickled(artefact: bytes, tmp_path: Path, registered: bool) -> None:
    """Breaks when a pickle, even one whose hash was registered, reaches an unpickler."""
    sentinel = tmp_path / "unpickled"
    evil = pickle.dumps(Sentinel(sentinel))
    for data in (evil, altered(artefact, forest=evil)):
        with pytest.raises(ArtefactRefused):
            load(data, sha256_of(data) if registered else sha256_of(artefact))
    assert not sentinel.exists()


def test_pickle_inside_a_numpy_file_is_never_unpickled(artefact: bytes, tmp_path: Path) -> None:
    """Breaks when an array of objects in a skops file is read with pickles allowed."""
    sentinel = tmp_path / "unpickled"
    data = with_pickled_arrays(artefact, sentinel)
    with pytest.raises(ArtefactRefused):
        load(data, sha256_of(data))
    assert not sentinel.exists()


def test_untrusted_types_and_other_models_are_refused(artefact: bytes) -> None:
    """Breaks when the trust list is taken from the file, or any skops file passes for a forest."""
    for model in (LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]), Path.touch, IsolationForest()):
        data = altered(artefact, forest=skops.io.dumps(model))
        with pytest.raises(ArtefactRefused):
            load(data, sha256_of(data))


@pytest.mark.parametrize("names", [FEATURES[::-1], [f"{name}:temperature" for name in FEATURES]])
def test_wrong_features_are_refused(artefact: bytes, names: Sequence[str]) -> None:
    """Breaks when a forest of other features, or of the same ones in another order, judges under this release."""
    data = with_features(artefact, list(names))
    with pytest.raises(ArtefactRefused, match=f"fitted on {len(FEATURES)} features"):
        load(data, sha256_of(data))


@pytest.mark.parametrize("trained", [{}, {"scikit-learn": "0.24.2"}, {"scikit-learn": "2.0.0"}])
def test_other_scikit_learn_is_refused(artefact: bytes, trained: dict[str, str]) -> None:
    """Breaks when trees of another major version are read as if their layout were known."""
    data = with_spec(artefact, trained=trained)
    with pytest.raises(ArtefactRefused, match="was trained with scikit-learn"):
        load(data, sha256_of(data))


def test_broken_parts_are_refused(artefact: bytes) -> None:
    """Breaks when a part that cannot be read ends in a traceback."""
    empty = io.BytesIO()
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr(FOREST, b"")
    for data in (
        b"",
        b"PK\x03\x04",
        empty.getvalue(),
        altered(artefact, forest=b"no forest"),
        altered(artefact, spec=b"{}"),
        altered(artefact, prior=b"{}"),
        with_spec(artefact, forest_threshold=0.0),
        with_spec(artefact, reach=(1.0,)),
        with_spec(artefact, score_quantiles=(1.0,)),
        with_spec(artefact, format="stationwatch-detector-1"),
    ):
        with pytest.raises(ArtefactRefused):
            load(data, sha256_of(data))
