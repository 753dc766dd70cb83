"""The bytes of a PackedForest: what was written is read back, and nothing else is accepted."""

from __future__ import annotations

import hashlib
import pickle
import struct
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.ensemble import IsolationForest

from core.errors import ArtefactRefused
from models.scoring.isolation_forest import NARROW, WIDE, PackedForest

ROWS = np.random.default_rng(0).standard_normal((400, 3))
FOREST = IsolationForest(n_estimators=8, max_samples=64, random_state=0).fit(ROWS)
PACKED = PackedForest.from_sklearn(FOREST, ["level", "résidu", "diff"])
DATA = PACKED.to_bytes()
SCORES = PACKED.anomaly_score(ROWS)


def parts() -> dict[str, Any]:
    """The arrays of a small valid forest, copied so that a test may spoil them."""
    names = ("nodes", "roots", "thresholds", "starts", "leaf_values")
    return {"feature_names": PACKED.feature_names, "full_depth": PACKED.full_depth} | {
        name: getattr(PACKED, name).copy() for name in names
    }


def sealed(body: bytes) -> bytes:
    """Bytes whose checksum is right, as somebody would make them on purpose."""
    return body + hashlib.sha256(body).digest()


def test_what_is_written_is_read_back() -> None:
    """Broken by any field that does not survive."""
    again = PackedForest.from_bytes(DATA)
    assert again.feature_names == PACKED.feature_names
    assert again.nbytes == PACKED.nbytes
    assert again.to_bytes() == DATA
    np.testing.assert_array_equal(again.anomaly_score(ROWS), -FOREST.score_samples(ROWS))
    np.testing.assert_array_equal(PackedForest.from_bytes(memoryview(DATA)).anomaly_score(ROWS), SCORES)


def test_the_wide_form_is_read_back() -> None:
    """Broken when a forest too large for 16 bits is read with the small one's layout."""
    wide = PackedForest(**(parts() | {"nodes": PACKED.nodes.astype(WIDE)}))
    again = PackedForest.from_bytes(wide.to_bytes())
    assert again.nodes.dtype == WIDE
    np.testing.assert_array_equal(again.anomaly_score(ROWS), SCORES)


def test_a_pickled_forest_travels_as_checked_bytes() -> None:
    """Broken when Spark's pickling would bring it to a worker unchecked, or writable."""
    again = pickle.loads(pickle.dumps(PACKED))  # noqa: S301
    assert not again.nodes.flags.writeable
    np.testing.assert_array_equal(again.anomaly_score(ROWS), SCORES)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
@example(0, 1)
@example(len(DATA) - 1, 128)
def test_one_changed_byte_is_refused(place: int, change: int) -> None:
    """Broken by any region the checksum does not cover."""
    damaged = bytearray(DATA)
    damaged[place] ^= change
    with pytest.raises(ArtefactRefused, match="checksum"):
        PackedForest.from_bytes(bytes(damaged))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(DATA) - 1))
@example(0)
@example(31)
@example(32)
@example(40)
def test_a_cut_or_longer_string_is_refused(length: int) -> None:
    """Broken when a download that stopped half-way is taken for a forest."""
    for damaged in (DATA[:length], DATA[length + 1 :], DATA + DATA[:length] + b"x"):
        with pytest.raises(ArtefactRefused):
            PackedForest.from_bytes(damaged)


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(DATA) - 33), st.integers(1, 255))
def test_a_changed_byte_under_a_right_checksum_leads_nowhere(place: int, change: int) -> None:
    """Broken by an index that is followed unchecked: a loop without end, or memory of somebody else.

    A forest with another threshold or leaf value is still a forest, so it may score; it then scores finite numbers.
    """
    body = bytearray(DATA[:-32])
    body[place] ^= change
    try:
        forest = PackedForest.from_bytes(sealed(bytes(body)))
    except ArtefactRefused:
        return
    with np.errstate(all="ignore"):
        scores = forest.anomaly_score(np.zeros((5, forest.n_features)))
    assert scores.shape == (5,)
    assert not np.isnan(scores).any()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "too few"),
        (b"x" * 15, "too few"),
        (b"OTHERFMT" + DATA[8:-32], "format"),
        (DATA[:8] + struct.pack("<I", 2) + DATA[12:-32], "expected b'SWFOREST' 1"),
        (DATA[:12] + struct.pack("<I", 5) + DATA[16:-32], "header"),
        (DATA[:12] + struct.pack("<I", 2**32 - 1) + DATA[16:-32], "header"),
        (DATA[:-40], "bytes of arrays"),
        (DATA[:-32] + b"12345678", "bytes of arrays"),
        (pickle.dumps(ROWS), "format"),
    ],
)
def test_other_formats_are_refused_with_the_reason(body: bytes, says: str) -> None:
    """Broken when a file of another version is read as if it were this one."""
    with pytest.raises(ArtefactRefused, match=says):
        PackedForest.from_bytes(sealed(body))


@pytest.mark.parametrize(
    "change",
    [
        {"wide": True},
        {"counts": [0, 0, 0, 0, 0]},
        {"counts": [-1, 9, 9, 9, 9]},
        {"feature_names": []},
        {"feature_names": ["a", "b"]},
        {"feature_names": ["a", "b", "b"]},
        {"full_depth": -1.0},
        {"full_depth": "many"},
        {"more": 1},
    ],
)
def test_a_header_that_does_not_fit_is_refused(change: dict[str, Any]) -> None:
    """Broken when the header's word is taken for the size of anything."""
    (length,) = struct.unpack_from("<I", DATA, 12)
    header = msgspec.json.encode(msgspec.json.decode(DATA[16 : 16 + length]) | change)
    body = DATA[:12] + struct.pack("<I", len(header)) + header + DATA[16 + length : -32]
    with pytest.raises(ArtefactRefused):
        PackedForest.from_bytes(sealed(body))


INNER = int(np.flatnonzero(PACKED.nodes["feature"] >= 0)[3])
LEAF = int(np.flatnonzero(PACKED.nodes["feature"] < 0)[3])


@pytest.mark.parametrize(
    ("array", "field", "place", "value", "says"),
    [
        ("nodes", "feature", INNER, 3, "feature is unknown"),
        ("nodes", "feature", INNER, -2, "feature is unknown"),
        ("nodes", "feature", LEAF, 0, "child|parent"),
        ("nodes", "feature", PACKED.nodes.size - 1, 0, "child"),
        ("nodes", "feature", INNER, -1, "parent|value"),
        ("nodes", "right", INNER, INNER + 1, "child"),
        ("nodes", "right", INNER, INNER, "child"),
        ("nodes", "right", INNER, -1, "child"),
        ("nodes", "right", INNER, PACKED.nodes.size, "child"),
        ("nodes", "right", INNER, int(PACKED.roots[1]), "child"),
        ("nodes", "right", INNER, INNER + 2, "parent"),
        ("nodes", "right", LEAF, PACKED.leaf_values.size, "no value"),
        ("nodes", "right", LEAF, -1, "no value"),
        ("nodes", "rank", INNER, 65535, "not in the list"),
        ("roots", None, 0, 1, "trees end"),
        ("roots", None, 1, 0, "overlap"),
        ("roots", None, 1, 2**62, "overlap"),
        ("roots", None, -1, PACKED.nodes.size + 1, "trees end"),
        ("starts", None, 0, 1, "thresholds end"),
        ("starts", None, 1, -5, "overlap"),
        ("starts", None, -1, PACKED.thresholds.size + 1, "thresholds end"),
        ("thresholds", None, 3, np.nan, "ascend"),
        ("thresholds", None, 3, np.inf, "ascend"),
        ("leaf_values", None, 0, np.nan, "finite"),
        ("leaf_values", None, 0, -0.5, "below 0"),
    ],
)
def test_every_index_is_checked(array: str, field: str | None, place: int, value: float, says: str) -> None:
    """Broken by a check that is missing: the loops follow these numbers without looking."""
    spoilt = parts()
    (spoilt[array][field] if field else spoilt[array])[place] = value
    with pytest.raises(ArtefactRefused, match=says):
        PackedForest(**spoilt)


def test_more_entries_than_the_small_form_numbers_are_refused() -> None:
    """Broken when 65,536 thresholds wrap round in 16 bits."""
    spoilt = parts()
    spoilt["thresholds"] = np.arange(65_536 + 2, dtype=np.float32)
    spoilt["starts"] = np.array([0, 65_536, 65_537, 65_538])
    spoilt["nodes"] = np.array([(0, 0, -1)], NARROW)
    spoilt["roots"] = np.array([0, 1])
    with pytest.raises(ArtefactRefused, match="more than 65535"):
        PackedForest(**spoilt)
    PackedForest(**(spoilt | {"nodes": spoilt["nodes"].astype(WIDE)}))
