"""What the forest sees: the witnesses of a reading over their limits, whatever the sensors are.

One feature a witness, the largest over the sensors, and one for how long the station has been unusual. They are in
units of the station's own limits, so that one forest serves quiet and lively stations and any catalogue. Other choices
that were measured: docs/decisions/witnesses.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.detection.block import WITNESSES, Blocks

FEATURES = (*WITNESSES, "lasting")
_LEVEL = WITNESSES.index("level")
FAR = 5.0  # limits beyond which a feature carries no more information


@dataclass(frozen=True)
class Reference:
    """What a model version expects of a station that has shown little itself.

    Args:
        sensors: names.
        centre: (n_sensors,) median value over the training stations, sensor units.
        reach: (n_sensors,) how far from it is as unusual as a witness at its limit, sensor units.
    """

    sensors: tuple[str, ...]
    centre: np.ndarray
    reach: np.ndarray

    def ratio(self, sensors: tuple[str, ...], values: np.ndarray) -> np.ndarray:
        """Return (value - centre) / reach, (n, n_sensors) float64; 0 where missing or of an unknown sensor."""
        ratio = np.zeros(values.shape)
        for place, name in enumerate(sensors):
            if name in self.sensors:
                known = self.sensors.index(name)
                ratio[:, place] = (values[:, place] - self.centre[known]) / self.reach[known]
        return np.nan_to_num(ratio, nan=0.0)


def features(blocks: Blocks, reference: Reference) -> np.ndarray:
    """Return the forest's features of each reading; what is missing counts as typical.

    The level of a station that has shown little of itself is in part its distance from the version's reference.

    Args:
        blocks: n readings.
        reference: of the model version.

    Returns:
        (n, len(FEATURES)) float64, dimensionless, within 0…5: |ratio| to the witness's limit as its controller has
        raised it.
    """
    ratio = blocks.witnesses("ratio").astype(np.float64)
    weight = blocks.per_sensor("weight").astype(np.float64)
    if (weight < 1.0).any():
        pooled = reference.ratio(blocks.sensors, blocks.per_sensor("value").astype(np.float64))
        ratio[:, :, _LEVEL] = weight * ratio[:, :, _LEVEL] + (1.0 - weight) * pooled
    # A witness that fires too often for the station has to say more, here as well.
    largest = (np.abs(ratio) / blocks.witnesses("h")).max(axis=1, initial=0.0)
    columns = np.concatenate([largest, blocks.common("lasting")[:, np.newaxis]], axis=1)
    return np.minimum(columns, FAR)
