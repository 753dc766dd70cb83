"""What the forest sees: the witnesses of a reading over their limits, whatever the sensors are.

One feature a witness, the largest over the sensors, and one for how long the station has been unusual. They are in
units of the station's own limits, so that one forest serves quiet and lively stations and any catalogue. Other choices
that were measured: docs/decisions/witnesses.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from models.kernels.scoring_kernel import largest_ratios
from models.scoring.feature_block import WITNESSES, Blocks

FEATURES = (*WITNESSES, "lasting")
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

    def of(self, sensors: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Return centre and reach of these sensors, (n_sensors,) float64 each; NaN of an unknown one."""
        places = [self.sensors.index(name) if name in self.sensors else None for name in sensors]
        found = [[math.nan if place is None else part[place] for place in places] for part in (self.centre, self.reach)]
        centre, reach = np.array(found, np.float64).reshape(2, len(sensors))
        return centre, reach


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
    centre, reach = reference.of(blocks.sensors)
    found = np.zeros((len(blocks), len(FEATURES)))
    largest_ratios(blocks.whole(), centre, reach, FAR, found)
    return found
