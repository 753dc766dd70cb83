"""What the forest sees: a block in units of the station's own spreads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.detection.block import Blocks

PER_SENSOR_FEATURES = ("level", "resid", "diff", "activity")
_FAR = 50.0  # spreads beyond which a feature carries no more information


@dataclass(frozen=True)
class Reference:
    """What a model version expects of a station that has shown little itself.

    Args:
        sensors: names.
        centre: (n_sensors,) median value over the training stations, sensor units.
        spread: (n_sensors,) spread around it, between stations and within, sensor units.
    """

    sensors: tuple[str, ...]
    centre: np.ndarray
    spread: np.ndarray


def feature_names(sensors: tuple[str, ...]) -> tuple[str, ...]:
    """Name the columns of `features`."""
    return tuple(f"{sensor}.{feature}" for sensor in sensors for feature in PER_SENSOR_FEATURES)


def features(blocks: Blocks, reference: Reference) -> np.ndarray:
    """Return the forest's features of each reading; what is missing counts as typical.

    Args:
        blocks: n readings; a sensor of the reference that they lack counts as typical.
        reference: of the model version.

    Returns:
        (n, 4 · n_sensors) float64, dimensionless, columns as `feature_names(reference.sensors)`, within ±50.
    """
    known = [name for name in reference.sensors if name in blocks.sensors]
    out = np.zeros((len(blocks), len(reference.sensors), len(PER_SENSOR_FEATURES)))
    if known:
        places = [reference.sensors.index(name) for name in known]
        out[:, places] = _of_known(blocks.of_sensors(known), reference.centre[places], reference.spread[places])
    return out.reshape(len(blocks), out.shape[1] * out.shape[2])


def _of_known(blocks: Blocks, centre: np.ndarray, spread: np.ndarray) -> np.ndarray:
    column = {
        name: blocks.per_sensor(name).astype(np.float64)
        for name in ("value", "weight", "diff", "diff_spread", "activity")
    }
    weight = column["weight"]
    own = blocks.witness("level", "u").astype(np.float64)
    pooled = (column["value"] - centre) / spread
    parts = (
        weight * own + (1.0 - weight) * pooled,
        blocks.witness("innovation", "u").astype(np.float64),
        column["diff"] / column["diff_spread"],
        column["activity"] / column["diff_spread"],
    )
    stacked = np.clip(np.stack(parts, axis=2), -_FAR, _FAR)
    return np.nan_to_num(stacked, nan=0.0)
