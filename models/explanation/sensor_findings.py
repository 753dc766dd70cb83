"""What a flagged reading shows of each sensor, in plain Python: what cause and sentence are made from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from core.sensors import Sensor
from models.kernels.statistics_kernel import CROSS_BAND, CROSS_LEVEL, LEVEL, NOISE
from models.scoring.detector import Detector
from models.scoring.feature_block import IMPLAUSIBLE, MISSING, WITNESSES, Blocks

# What looks at one sensor alone, and at how far it is, not how restless.
OWN = tuple(place for place in range(len(WITNESSES)) if place not in (NOISE, CROSS_BAND, CROSS_LEVEL))


class Finding(NamedTuple):
    """One sensor of a reading.

    Args:
        sensor: from the catalogue.
        share: its contribution.
        actual, typical, lower, upper: sensor units, NaN where not known.
        implausible, missing, stuck: whether the rule fires on it; `absent` whether this value is missing.
        run, run_limit, missing_run, missing_limit: readings.
        own: the largest |ratio| / k of the witnesses that look at this sensor's values alone.
        above: whether that witness saw it too high.
        level: |ratio| / k of the value's distance from typical.
        noise: ratio / k of its restlessness, negative where it is calmer than usual.
        cross: the largest |ratio| / k of its distance from what the other sensors foretell.
        fired: whether any of its witnesses fired.
    """

    sensor: Sensor
    share: float
    actual: float
    typical: float
    lower: float
    upper: float
    absent: bool
    implausible: bool
    missing: bool
    stuck: bool
    run: float
    run_limit: float
    missing_run: float
    missing_limit: float
    own: float
    above: bool
    level: float
    noise: float
    cross: float
    fired: bool

    @property
    def name(self) -> str:
        """As people read it."""
        return self.sensor.name.replace("_", " ")


class Findings(NamedTuple):
    """A reading: its sensors, what the rules say of the whole, and how long it has been unusual.

    Args:
        sensors: in the catalogue's order.
        flagged: whether the reading is.
        gap: whether the reading came too late after the one before, `elapsed` s; `gap_limit` s were allowed.
        lasting: mean of the largest |ratio| over the last readings.
    """

    sensors: list[Finding]
    flagged: bool
    gap: bool
    elapsed: float
    gap_limit: float
    lasting: float

    @property
    def leading(self) -> Finding:
        """The sensor with the largest contribution."""
        return max(self.sensors, key=lambda finding: finding.share)

    @property
    def others(self) -> list[Finding]:
        """The rest."""
        return [finding for finding in self.sensors if finding is not self.leading]


def findings_of(
    detector: Detector, blocks: Blocks, flagged: np.ndarray, shares: np.ndarray, catalogue: Sequence[Sensor]
) -> list[Findings]:
    """Read n blocks; `flagged` (n,) bool, `shares` (n, n_sensors)."""
    per_sensor = _columns(detector, blocks, shares)
    elapsed, gap_limit, lasting = (blocks.common(name) for name in ("elapsed", "gap_limit", "lasting"))
    common = (flagged, elapsed > gap_limit, elapsed, gap_limit, lasting)
    whole = zip(per_sensor, *(column.tolist() for column in common), strict=True)
    return [
        Findings([Finding(sensor, *row) for sensor, row in zip(catalogue, rows, strict=True)], *rest)
        for rows, *rest in whole
    ]


def _columns(detector: Detector, blocks: Blocks, shares: np.ndarray) -> list[list[tuple]]:
    """The fields of `Finding` behind its sensor, for each reading and sensor."""
    ratio = detector.witness_ratios(blocks)
    signed = blocks.witnesses("ratio")
    own = ratio[:, :, OWN]
    strongest = own.argmax(axis=2)[..., np.newaxis]
    quality, run, missing_run = (blocks.per_sensor(name) for name in ("quality", "run", "missing_run"))
    run_limit, missing_limit = blocks.per_sensor("run_limit"), blocks.per_sensor("missing_limit")
    columns = (
        shares, *(blocks.per_sensor(name) for name in ("value", "typical", "lower", "upper")),
        quality == MISSING, quality == IMPLAUSIBLE, missing_run > missing_limit, run > run_limit,
        run, run_limit, missing_run, missing_limit,
        own.max(axis=2), np.take_along_axis(signed[:, :, OWN], strongest, axis=2)[..., 0] > 0.0,
        ratio[:, :, LEVEL], np.copysign(ratio[:, :, NOISE], signed[:, :, NOISE]),
        np.maximum(ratio[:, :, CROSS_BAND], ratio[:, :, CROSS_LEVEL]),
        (ratio > blocks.witnesses("h")).any(axis=2),
    )  # fmt: skip
    by_sensor = [[column[:, sensor].tolist() for column in columns] for sensor in range(len(blocks.sensors))]
    per_sensor = [list(zip(*one, strict=True)) for one in by_sensor]
    return [list(row) for row in zip(*per_sensor, strict=True)]
