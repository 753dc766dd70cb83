"""The loops of `PackedForest`: many rows go down a tree together.

Following one row down one tree is a chain of jumps that no processor predicts. Here each tree is walked once for a
block of up to `BLOCK` rows that lie close together:

- every row of the block has a label, 0 at first. Nodes are visited in scikit-learn's order, left child first, and each
  visit stands for the rows under one label;
- a node whose threshold lies outside the block's own range of that feature costs nothing: all rows go one way;
- otherwise one pass over the block gives the rows beyond the threshold a label of their own, and the right child is put
  aside with that label. There is no gather and no branch in the pass, so one instruction handles 16 rows;
- a leaf leaves its value under its label. After the tree each row adds the value it finds under its label.

Rows become neighbours by halving the batch along the feature with the widest range of ranks, the one with most
thresholds to cross, until the parts fit into a block.

All values are ranks among the forest's thresholds (see forest.py), hence the loops compare 16-bit integers. Without
numba, numpy gives the same results: faster than scikit-learn up to some 1,000 rows, at half its speed in bulk.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from models.kernels.jit import HAVE_NUMBA, compiled

Array = npt.NDArray[Any]

# Large enough that many rows share a walk, small enough that a block's ranks stay in the core's cache.
BLOCK = 2048
# Rows of a block are filled up to a multiple of this, so that no pass has a slow remainder.
LANES = 32


def rank(values: Array, thresholds: Array, ranks: Array) -> None:
    """Write to `ranks` (n,) how many of the ascending `thresholds` lie below each of `values` (n,) float32."""
    if HAVE_NUMBA:
        _rank(values, thresholds, ranks)
    else:
        ranks[:] = np.searchsorted(thresholds, values)


def add_depths(ranks: Array, nodes: Array, roots: Array, leaf_values: Array, depth: Array) -> None:
    """Add to `depth` (n_rows,) the leaf value of each tree in turn; `ranks` is (n_features, n_rows)."""
    if depth.size == 0:
        return
    if HAVE_NUMBA:
        order, bounds = _neighbours(ranks, BLOCK)
        most_labels = int(np.diff(roots).max()) // 2 + 1
        _add_depths(ranks, order, bounds, nodes, roots, leaf_values, most_labels, depth)
    else:
        _add_depths_plainly(ranks, nodes, roots, leaf_values, depth)


@compiled(allocates=True)
def _rank(values: Array, thresholds: Array, ranks: Array) -> None:
    """Binary searches in lockstep, so that none of them waits for a branch of its own."""
    below = np.zeros(values.size, np.uint32)
    size = thresholds.size
    while size > 1:
        half = size >> 1
        middle, step = thresholds[half - 1 :], np.uint32(half)
        for i in range(values.size):
            low = below[i]
            below[i] = np.uint32(low + step) if middle[low] < values[i] else low
        size -= half
    for i in range(values.size):
        ranks[i] = below[i] + (size == 1 and thresholds[below[i]] < values[i])


@compiled(allocates=True)
def _neighbours(ranks: Array, size: int) -> tuple[Array, Array]:
    """Order the rows so that each part of at most `size` rows lies close together; also the bounds of the parts."""
    n_features, n_rows = ranks.shape
    order = np.arange(n_rows)
    bounds, parts = np.zeros(2 * n_rows // size + 2, np.int64), 0
    todo, waiting, start = np.empty(64, np.int64), 0, 0  # 64 halvings are more than any batch can need
    todo[0] = n_rows
    while waiting >= 0:
        end = todo[waiting]
        if end - start <= size:
            waiting -= 1
            parts += 1
            bounds[parts] = start = end
            continue
        widest, width = 0, np.int64(-1)
        for feature in range(n_features):
            column = ranks[feature]
            low = high = np.int64(column[order[start]])
            for i in range(start, end):
                low, high = min(low, np.int64(column[order[i]])), max(high, np.int64(column[order[i]]))
            if high - low > width:
                widest, width = feature, high - low
        middle = (start + end) // 2
        _halve(order, ranks[widest], start, end - 1, middle)
        waiting += 1
        todo[waiting] = middle
    return order, bounds[: parts + 1]


@compiled()
def _halve(order: Array, column: Array, first: int, last: int, middle: int) -> None:
    """Reorder `order[first : last + 1]` so that no row before `middle` ranks above one from there on (quickselect)."""
    while first < last:
        pivot = column[order[(first + last) // 2]]
        i, j = first, last
        while i <= j:
            while column[order[i]] < pivot:
                i += 1
            while column[order[j]] > pivot:
                j -= 1
            if i <= j:
                order[i], order[j] = order[j], order[i]
                i += 1
                j -= 1
        if middle <= j:
            last = j
        elif middle >= i:
            first = i
        else:
            return


@compiled()
def _part(labels: Array, ranks: Array, threshold: Any, old: Any, new: Any) -> None:
    """Give the label `new` to those rows labelled `old` that lie beyond the threshold."""
    kind = labels.dtype.type
    step = kind(new - old)
    for i in range(labels.size):
        beyond = (labels[i] == old) & (ranks[i] > threshold)
        labels[i] = kind(labels[i] + (kind(-kind(beyond)) & step))


@compiled(allocates=True)
def _add_depths(
    ranks: Array,
    order: Array,
    bounds: Array,
    nodes: Array,
    roots: Array,
    leaf_values: Array,
    most_labels: int,
    depth: Array,
) -> None:
    n_features = ranks.shape[0]
    kind = ranks.dtype.type
    low, high = np.empty(n_features, ranks.dtype), np.empty(n_features, ranks.dtype)
    block, all_labels = np.empty((n_features, BLOCK), ranks.dtype), np.empty(BLOCK, ranks.dtype)
    value_of, all_total = np.empty(most_labels), np.empty(BLOCK)
    aside, label_aside = np.empty(most_labels, np.int64), np.empty(most_labels, ranks.dtype)
    for part in range(bounds.size - 1):
        rows = order[bounds[part] : bounds[part + 1]]
        filled = (rows.size + LANES - 1) // LANES * LANES
        labels, total = all_labels[:filled], all_total[: rows.size]
        for feature in range(n_features):
            column = block[feature]
            for i in range(filled):
                column[i] = ranks[feature, rows[i if i < rows.size else 0]]
            low[feature], high[feature] = column[:filled].min(), column[:filled].max()
        total[:] = 0.0
        for tree in range(roots.size - 1):
            labels[:] = 0
            node, label, used, waiting = roots[tree], kind(0), 0, 0
            while True:
                visited = nodes[node]
                feature, threshold = visited.feature, visited.rank
                if feature < 0:
                    value_of[label] = leaf_values[visited.right]
                    if waiting == 0:
                        break
                    waiting -= 1
                    node, label = aside[waiting], label_aside[waiting]
                elif threshold >= high[feature]:
                    node += 1
                elif threshold < low[feature]:
                    node = np.int64(visited.right)
                else:
                    used += 1
                    _part(labels, block[feature, :filled], threshold, label, kind(used))
                    aside[waiting], label_aside[waiting] = visited.right, kind(used)
                    waiting += 1
                    node += 1
            for i in range(rows.size):
                total[i] += value_of[labels[i]]
        for i in range(rows.size):
            depth[rows[i]] += total[i]


def _add_depths_plainly(ranks: Array, nodes: Array, roots: Array, leaf_values: Array, depth: Array) -> None:
    """Take each step down a tree with many rows, or down many trees with few rows, in one numpy call.

    A place is twice a node, so that place + 1 can stand for the step to the right. Leaves lead to themselves.
    """
    here = np.arange(nodes.size)
    inner = nodes["feature"] >= 0
    left, right = np.where(inner, here + 1, here), np.where(inner, nodes["right"], here)
    child = 2 * np.stack([left, right], axis=1).ravel()
    feature, threshold, value = (np.repeat(nodes[field], 2) for field in ("feature", "rank", "right"))
    width = min(BLOCK, depth.size)
    together = max(1, BLOCK // width)
    column = feature.astype(np.int64) * width
    for start in range(0, depth.size, width):
        block = np.zeros((len(ranks), width), ranks.dtype)
        rows = np.arange(min(width, depth.size - start))
        block[:, : rows.size] = ranks[:, start : start + width]
        for tree in range(0, roots.size - 1, together):
            place = np.repeat(2 * roots[tree : min(tree + together, roots.size - 1), None], rows.size, axis=1)
            while (cell := column.take(place)).max() >= 0:
                cell += rows
                place += block.take(cell) > threshold.take(place)
                place = child.take(place)
            for depths in leaf_values.take(value.take(place)):
                depth[start : start + width] += depths
