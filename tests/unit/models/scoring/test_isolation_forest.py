"""PackedForest scores what scikit-learn scores, to the bit, whatever the forest, the rows and how they are stored."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.ensemble import IsolationForest

from core.errors import ArtefactRefused, FeatureMismatch
from models.kernels import forest_kernel
from models.scoring.isolation_forest import NARROW, WIDE, PackedForest

SPECIAL = [0.0, -0.0, np.inf, -np.inf, 1e300, -1e300, 5e-324, -5e-324, 1e-45, -1e-45, 1e-40, 3.5e38, -3.5e38, 1.0]
FORESTS: dict[str, dict[str, float]] = {
    "as the stream uses it": {"n_estimators": 100},
    "one tree": {"n_estimators": 1},
    "stumps": {"n_estimators": 30, "max_samples": 2},
    "three rows a tree": {"n_estimators": 30, "max_samples": 3},
    "one row a tree": {"n_estimators": 5, "max_samples": 1},
    "shallow": {"n_estimators": 40, "max_samples": 17},
    "deep": {"n_estimators": 20, "max_samples": 1500},
    "a share of the rows": {"n_estimators": 20, "max_samples": 0.5},
    "a share of the features": {"n_estimators": 60, "max_features": 0.5},
    "one feature a tree": {"n_estimators": 60, "max_features": 1},
    "with replacement": {"n_estimators": 20, "bootstrap": True},
    "with a threshold of its own": {"n_estimators": 20, "contamination": 0.1},
}


def rows_like_training(n_rows: int, seed: int) -> np.ndarray:
    """Five columns: two related ones, one in steps of 0.1, one constant, one of few integers."""
    rng = np.random.default_rng(seed)
    base = rng.standard_normal((n_rows, 2))
    stepped = np.round(20 + 3 * rng.standard_normal(n_rows), 1)
    constant, few = np.full(n_rows, 7.25), rng.integers(0, 4, n_rows)
    return np.column_stack([base[:, 0], base.sum(axis=1) * 1e-3, stepped, constant, few])


@cache
def fitted(kind: str) -> tuple[IsolationForest, PackedForest]:
    forest = IsolationForest(random_state=3, **FORESTS[kind]).fit(rows_like_training(2000, seed=1))
    return forest, PackedForest.from_sklearn(forest, ["a", "b", "c", "d", "e"])


def rows_at_thresholds(forest: IsolationForest, rng: np.random.Generator) -> np.ndarray:
    """For each threshold, and each number beside it, an ordinary row that holds it; and rows made of them alone."""
    n_features = forest.n_features_in_
    ordinary = rows_like_training(500, seed=2)
    found: list[list[float]] = [list(SPECIAL) for _ in range(n_features)]
    for tree, columns in zip(forest.estimators_, forest.estimators_features_, strict=True):
        inner = np.flatnonzero(tree.tree_.children_left >= 0)
        for node in inner:
            found[columns[tree.tree_.feature[node]]].append(tree.tree_.threshold[node])
    rows = []
    for column, values in enumerate(found):
        exact = np.unique(np.array(values))
        with np.errstate(over="ignore", under="ignore"):
            single = exact.astype(np.float32)
            beside = [np.nextafter(exact, side) for side in (-np.inf, np.inf)]
            beside += [np.nextafter(single, np.float32(side)).astype(float) for side in (-np.inf, np.inf)]
        values_here = np.concatenate([exact, single.astype(float), *beside])
        some = ordinary[rng.integers(0, len(ordinary), len(values_here))]
        some[:, column] = values_here
        rows.append(some)
        found[column] = list(values_here)
    only = np.column_stack([rng.choice(values, 2000) for values in found])
    return np.concatenate([*rows, only])


@pytest.fixture(params=["numba", "numpy"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of scoring must say the same."""
    if request.param == "numpy":
        monkeypatch.setattr(forest_kernel, "HAVE_NUMBA", False)
    return str(request.param)


def by_sklearn(forest: IsolationForest, rows: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # it casts to float32
        return -np.asarray(forest.score_samples(rows))


def assert_same(forest: IsolationForest, packed: PackedForest, rows: np.ndarray) -> None:
    expected = by_sklearn(forest, rows)
    scored = packed.anomaly_score(rows)
    assert scored.dtype == np.float64
    assert scored.shape == (len(rows),)
    np.testing.assert_array_equal(scored, expected)


@pytest.mark.parametrize("kind", FORESTS)
def test_scores_equal_sklearn_at_every_threshold(kind: str, way: str) -> None:
    """Broken by rounding a threshold to nearest, `<` for `<=`, or another order of sums."""
    forest, packed = fitted(kind)
    rng = np.random.default_rng(4)
    assert_same(forest, packed, rows_at_thresholds(forest, rng))
    assert_same(forest, packed, rows_like_training(5000, seed=5))


def test_the_rows_at_thresholds_would_notice_rounding_to_nearest() -> None:
    """The guard of the test above: thresholds rounded to nearest do get rows wrong."""
    forest, _ = fitted("as the stream uses it")
    tree = forest.estimators_[0].tree_
    wrong = tree.threshold.astype(np.float32).astype(float) > tree.threshold
    assert wrong.any()


@settings(max_examples=60, deadline=None)
@given(arrays(np.float64, (7, 5), elements=st.floats(allow_nan=False, allow_infinity=True, width=64)))
def test_scores_equal_sklearn_on_any_numbers(rows: np.ndarray) -> None:
    """Broken by any number that ranks otherwise than scikit-learn compares it."""
    assert_same(*fitted("as the stream uses it"), rows)


def test_batches_of_any_size_and_order_score_alike(way: str) -> None:
    """Broken when a row's score depends on its neighbours, its place or the edges of a block."""
    forest, packed = fitted("as the stream uses it")
    rows = rows_like_training(3 * forest_kernel.BLOCK + 5, seed=6)
    expected = -forest.score_samples(rows)
    shuffled = np.random.default_rng(7).permutation(len(rows))
    np.testing.assert_array_equal(packed.anomaly_score(rows[shuffled]), expected[shuffled])
    for n_rows in (1, 2, 31, 32, 33, forest_kernel.BLOCK, forest_kernel.BLOCK + 1):
        np.testing.assert_array_equal(packed.anomaly_score(rows[:n_rows]), expected[:n_rows])


def test_equal_rows_fill_many_blocks(way: str) -> None:
    """Broken when halving a batch relies on rows that differ."""
    forest, packed = fitted("as the stream uses it")
    assert_same(forest, packed, np.repeat(rows_like_training(1, seed=8), 2 * forest_kernel.BLOCK + 1, axis=0))


def test_no_rows_score_to_nothing(way: str) -> None:
    """Broken by an empty batch that raises, as it does in scikit-learn."""
    _, packed = fitted("as the stream uses it")
    scored = packed.anomaly_score(np.empty((0, 5)))
    assert scored.shape == (0,)
    assert scored.dtype == np.float64


def test_storage_of_the_rows_does_not_matter(way: str) -> None:
    """Broken by reading memory in the wrong order, or by rounding an integer twice."""
    forest, packed = fitted("as the stream uses it")
    rows = rows_like_training(801, seed=9)
    strided = np.zeros((801, 10))[:, ::-2]
    strided[:] = rows
    for stored in (np.asfortranarray(rows), rows[::3], rows[::-1], strided, rows.astype(np.float32)):
        assert_same(forest, packed, stored)
    assert_same(forest, packed, np.array([[1, 2, 20, 7, 3], [2**24 + 1, 2**53 + 1, -(2**62) - 1, 0, 2**63 - 1]]))
    np.testing.assert_array_equal(packed.anomaly_score(rows.tolist()), packed.anomaly_score(rows))


def test_the_rows_given_are_not_changed(way: str) -> None:
    """Broken by ordering or casting in place."""
    _, packed = fitted("as the stream uses it")
    rows = rows_like_training(3000, seed=11).astype(np.float32)
    before = rows.copy()
    packed.anomaly_score(rows)
    np.testing.assert_array_equal(rows, before)


@pytest.mark.parametrize("column", range(5))
def test_missing_values_are_refused_by_name(column: int, way: str) -> None:
    """Broken when NaN is scored, silently, as something normal."""
    _, packed = fitted("as the stream uses it")
    rows = rows_like_training(20, seed=12)
    rows[13, column] = np.nan
    with pytest.raises(ValueError, match=f"row 13: {'abcde'[column]} is NaN"):
        packed.anomaly_score(rows)


@pytest.mark.parametrize("shape", [(4, 4), (4, 6), (5,), (1, 5, 1), (0, 4)])
def test_other_columns_are_refused(shape: tuple[int, ...]) -> None:
    """Broken when too few columns are read past their end, or too many ignored."""
    _, packed = fitted("as the stream uses it")
    with pytest.raises(FeatureMismatch, match=r"expected \(n_rows, 5\) with columns a, b"):
        packed.anomaly_score(np.zeros(shape))


def test_names_must_be_those_of_the_fit() -> None:
    """Broken when columns may silently change places between training and scoring."""
    forest, packed = fitted("one tree")
    assert packed.feature_names == ("a", "b", "c", "d", "e")
    assert packed.n_features == 5
    assert packed.nbytes > 0
    with pytest.raises(FeatureMismatch, match="5 features"):
        PackedForest.from_sklearn(forest, ["a", "b"])
    with pytest.raises(ArtefactRefused, match="not unique"):
        PackedForest.from_sklearn(forest, ["a", "b", "c", "d", "a"])

    import pandas as pd

    named = IsolationForest(n_estimators=2, random_state=0).fit(pd.DataFrame({"x": [1.0, 2, 3], "y": [3.0, 1, 2]}))
    assert PackedForest.from_sklearn(named, ["x", "y"]).feature_names == ("x", "y")
    with pytest.raises(FeatureMismatch, match="'x', 'y'"):
        PackedForest.from_sklearn(named, ["y", "x"])


def test_constant_training_data_makes_trees_of_one_leaf(way: str) -> None:
    """Broken by a forest without any threshold."""
    forest = IsolationForest(n_estimators=10, random_state=0).fit(np.full((300, 2), 3.5))
    packed = PackedForest.from_sklearn(forest, ["a", "b"])
    assert packed.thresholds.size == 0
    assert_same(forest, packed, np.array([[3.5, 3.5], [-np.inf, 1e300]]))


def test_trees_of_another_node_order_are_refused() -> None:
    """Broken when a scikit-learn that numbers nodes otherwise is walked as if it did not."""
    forest = IsolationForest(n_estimators=2, random_state=0).fit(rows_like_training(50, seed=13))
    state = forest.estimators_[1].tree_.__getstate__()
    state["nodes"] = state["nodes"].copy()
    state["nodes"]["left_child"][0], state["nodes"]["right_child"][0] = (
        state["nodes"]["right_child"][0],
        state["nodes"]["left_child"][0],
    )
    forest.estimators_[1].tree_.__setstate__(state)
    with pytest.raises(ArtefactRefused, match="tree 1 of the model is not in preorder"):
        PackedForest.from_sklearn(forest, list("abcde"))


def test_more_thresholds_than_16_bits_number(way: str) -> None:
    """Broken when ranks overflow: 80,000 thresholds of one feature need the wide nodes."""
    forest = IsolationForest(n_estimators=180, max_samples=2000, random_state=0)
    rng = np.random.default_rng(14)
    forest.fit(rng.standard_normal((4000, 1)))
    packed = PackedForest.from_sklearn(forest, ["a"])
    assert packed.nodes.dtype == (WIDE if packed.thresholds.size > 65535 else NARROW)
    assert packed.thresholds.size > 65535
    assert_same(forest, packed, np.concatenate([rng.standard_normal((3000, 1)), [[9.0], [-9.0], [np.inf]]]))


def test_nobody_can_change_a_forest() -> None:
    """Broken when a thread could change what another one scores with."""
    _, packed = fitted("one tree")
    for array in (packed.nodes, packed.roots, packed.thresholds, packed.starts, packed.leaf_values):
        with pytest.raises(ValueError, match="read-only"):
            array[:1] = array[:1]


def test_threads_do_not_disturb_each_other() -> None:
    """Broken by scratch space that calls share."""
    forest, packed = fitted("as the stream uses it")
    batches = [rows_like_training(4000, seed=seed) for seed in range(20, 28)]
    expected = [-forest.score_samples(rows) for rows in batches]
    with ThreadPoolExecutor(4) as threads:
        for scored, wanted in zip(threads.map(packed.anomaly_score, batches), expected, strict=True):
            np.testing.assert_array_equal(scored, wanted)


WORKER = """
import sys
if {blocked}:
    sys.modules["numba"] = None
import numpy as np
from models.scoring.isolation_forest import PackedForest
forest = PackedForest.from_bytes(sys.stdin.buffer.read())
forest.warm_up()
scores = forest.anomaly_score(np.random.default_rng(15).standard_normal((50, 5)))
assert ("numba.core" in sys.modules) != {blocked}
assert not [name for name in sys.modules if name.split(".")[0] in ("sklearn", "skops")], "scikit-learn imported"
sys.stdout.buffer.write(scores.tobytes())
"""


@pytest.mark.parametrize("blocked", [False, True])
def test_a_worker_needs_neither_sklearn_nor_numba(blocked: bool) -> None:
    """Broken by an import of scikit-learn on the scoring path, or by one of numba that may not fail."""
    forest, packed = fitted("as the stream uses it")
    command = [sys.executable, "-c", WORKER.format(blocked=blocked)]
    ran = subprocess.run(command, input=packed.to_bytes(), capture_output=True, timeout=300)  # noqa: S603
    assert ran.returncode == 0, ran.stderr.decode()
    expected = -forest.score_samples(np.random.default_rng(15).standard_normal((50, 5)))
    np.testing.assert_array_equal(np.frombuffer(ran.stdout), expected)
