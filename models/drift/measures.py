"""Distances between distributions on a common grid, for many bootstrap draws at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec
import numpy as np

_REACH, _STEP = 8.0, 0.05  # standard deviations; what lies beyond counts as 8
_CELLS = int(2 * _REACH / _STEP)
_GROUPS = 10


class Bounds(msgspec.Struct, frozen=True):
    """An effect with the bounds of its bootstrap; never below 0."""

    effect: float
    low: float
    high: float


def bounds(drawn: np.ndarray, confidence: float) -> Bounds:
    """Return the effect, drawn[0], with the basic bootstrap interval of the draws behind it.

    Each draw is as much too large as the effect itself is by chance alone; the basic interval takes that off.
    """
    effect = float(drawn[0])
    low, high = (2.0 * effect - float(np.quantile(drawn[1:], share)) for share in (confidence, 1.0 - confidence))
    return Bounds(effect, max(min(low, effect), 0.0), max(high, effect))


@dataclass(frozen=True)
class Grid:
    """Cells of a twentieth of the training's standard deviation around its mean.

    Args:
        centre: mean of the training.
        scale: its standard deviation.
        groups: (n_groups - 1,) cells at which another group of about a tenth of the training begins, for the PSI.
    """

    centre: float
    scale: float
    groups: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, weight: np.ndarray) -> Grid:
        """Lay the grid over the training's values."""
        centre = float(np.average(values, weights=weight))
        scale = math.sqrt(float(np.average((values - centre) ** 2, weights=weight)))
        # A column that stands still in training has no scale of its own.
        grid = cls(centre, max(scale, 1e-6 * max(abs(centre), 1e-3)), np.zeros(0, np.int64))
        cumulated = np.cumsum(np.bincount(grid.cells(values), weight, _CELLS))
        edges = np.searchsorted(cumulated, cumulated[-1] * np.arange(1, _GROUPS) / _GROUPS) + 1
        return cls(grid.centre, grid.scale, np.unique(edges[edges < _CELLS]))

    def cells(self, values: np.ndarray) -> np.ndarray:
        """Return the cell of each value, (n,) int64."""
        places = np.floor(((values - self.centre) / self.scale + _REACH) / _STEP)
        return np.clip(places, 0, _CELLS - 1).astype(np.int64)

    def wasserstein(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Return the distance over the scale of rows of shares, (n_draws,)."""
        return np.abs(np.cumsum(one - other, axis=1)).sum(axis=1) * _STEP

    def psi(self, one: np.ndarray, other: np.ndarray, rows: int, other_rows: int) -> np.ndarray:
        """Return the population stability index of rows of shares, (n_draws,); an empty group counts as half a row."""
        starts = np.concatenate([[0], self.groups])
        shares = [
            (np.add.reduceat(side, starts, axis=1) * n + 0.5) / (n + 0.5 * len(starts))
            for side, n in ((one, rows), (other, other_rows))
        ]
        return ((shares[0] - shares[1]) * np.log(shares[0] / shares[1])).sum(axis=1)

    def largest_gap(self, one: np.ndarray, other: np.ndarray) -> float:
        """Return the Kolmogorov-Smirnov statistic of two rows of shares, to the width of a cell."""
        return float(np.abs(np.cumsum(one - other)).max())


def shares_by_block(
    drawn: np.ndarray, block: np.ndarray, cell: np.ndarray, weight: np.ndarray | None, cells: int = _CELLS
) -> np.ndarray:
    """Return the share of each cell when the blocks are drawn so often, (n_draws, cells)."""
    n_blocks = drawn.shape[1]
    table = np.bincount(block * cells + cell, weight, n_blocks * cells).reshape(n_blocks, cells)
    counted = drawn @ table
    return counted / np.maximum(counted.sum(axis=1, keepdims=True), 1e-12)


def kolmogorov_p(gap: float, n: int, m: int) -> float:
    """Return the p-value of a two-sample gap as if rows were independent, which they are not: shown, never trusted."""
    root = math.sqrt(n * m / (n + m))
    ratio = (root + 0.12 + 0.11 / root) * gap
    if ratio < 0.2:
        return 1.0
    return min(max(2.0 * sum((-1) ** (k - 1) * math.exp(-2.0 * (k * ratio) ** 2) for k in range(1, 101)), 0.0), 1.0)
