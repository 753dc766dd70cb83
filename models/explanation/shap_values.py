"""SHAP values of a verdict per sensor, on request.

The game is the verdict itself, witnesses and rules included; a library's tree explainer would explain the forest only,
and in witnesses instead of sensors (docs/explanations.md).
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from models.explanation.baseline_substitution import choices, departures, shapley_weights
from models.scoring.detector import Detector
from models.scoring.feature_block import Blocks

MOST_EXACT = 8  # sensors; 256 verdicts a reading
ORDERS = 64  # drawn beyond, each forwards and backwards


def shap_values(
    detector: Detector,
    blocks: Blocks,
    of: Literal["verdict", "forest"] = "verdict",
    rng: np.random.Generator | None = None,
    orders: int = ORDERS,
) -> np.ndarray:
    """Return how much each sensor moves a reading away from normal, over all orders in which sensors are looked at.

    Exact up to `MOST_EXACT` sensors. Beyond that a mean over drawn orders: it adds up exactly, and its error falls with
    the root of their number.

    Args:
        detector: the version that judged.
        blocks: n readings.
        of: the whole verdict, or the forest alone.
        rng: source of the orders; needed beyond `MOST_EXACT` sensors.
        orders: how many are drawn there.

    Returns:
        (n, n_sensors) float64 in multiples of the limit. A row's sum is how far the reading is beyond the same reading
        with all sensors typical.

    Raises:
        ValueError: too many sensors for exact values, and no rng.

    Source: Shapley 1953; Strumbelj, Kononenko 2010; antithetic orders: Mitchell et al. 2022.
    """
    n_sensors = len(blocks.sensors)
    game = 0 if of == "verdict" else 1
    if n_sensors <= MOST_EXACT:
        return _exact(departures(detector, blocks, choices(n_sensors))[game], n_sensors)
    if rng is None:
        raise ValueError(f"{n_sensors} sensors are too many for exact SHAP values (at most {MOST_EXACT}): pass an rng")
    total = np.zeros((len(blocks), n_sensors))
    for _ in range(orders):
        order = rng.permutation(n_sensors)
        for way in (order, order[::-1]):
            total[:, way] += _along(detector, blocks, way, game)
    return total / (2 * orders)


def _exact(far: np.ndarray, n_sensors: int) -> np.ndarray:
    weights, numbers = shapley_weights(n_sensors), np.arange(2**n_sensors)
    sizes = choices(n_sensors).sum(axis=1)
    values = np.zeros((far.shape[1], n_sensors))
    for sensor in range(n_sensors):
        without = numbers[(numbers >> sensor) % 2 == 0]
        values[:, sensor] = weights[sizes[without]] @ (far[without + (1 << sensor)] - far[without])
    return values


def _along(detector: Detector, blocks: Blocks, order: np.ndarray, game: int) -> np.ndarray:
    """What each sensor adds when they are looked at in this order, (n, n_sensors)."""
    kept = np.zeros((len(order) + 1, len(order)), bool)
    for place, sensor in enumerate(order):
        kept[place + 1 :, sensor] = True
    return np.diff(departures(detector, blocks, kept)[game], axis=0).T
