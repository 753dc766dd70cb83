"""What a flagged reading shows of each sensor, in plain Python: what cause and sentence are made from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from core.sensors import Sensor
from models.kernels.columns import CROSS_BAND, CROSS_LEVEL, LEVEL, NOISE
from models.scoring.detector import Detector
from models.scoring.feature_block import MISSING, WITNESSES, Blocks
from models.scoring.rules import RULES, SENSOR, Facts, Rule

# What looks at one sensor alone, and at how far it is, not how restless.
OWN = tuple(place for place in range(len(WITNESSES)) if place not in (NOISE, CROSS_BAND, CROSS_LEVEL))


class Finding(NamedTuple):
    """One sensor of a reading.

    Args:
        sensor: from the catalogue.
        share: its contribution.
        actual, typical, lower, upper: sensor units, NaN where not known.
        absent: whether this value is missing.
        rules: that fire on it, in the order of the table.
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
    rules: tuple[Rule, ...]
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
        rules: of the station, that fire.
        elapsed, gap_limit: s since the reading before, and s that were allowed.
        lasting: mean of the largest |ratio| over the last readings.
    """

    sensors: list[Finding]
    flagged: bool
    rules: tuple[Rule, ...]
    elapsed: float
    gap_limit: float
    lasting: float

    @property
    def leading(self) -> Finding:
        """The sensor with the largest contribution."""
        return max(self.sensors, key=lambda finding: finding.share)

    def facts(self, one: Finding) -> Facts:
        """What a rule's words are made from."""
        runs = (one.run, one.run_limit, one.missing_run, one.missing_limit)
        return Facts(one.sensor, one.actual, *runs, self.elapsed, self.gap_limit)

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
    common = (column.tolist() for column in (elapsed, gap_limit, lasting))
    whole = zip(per_sensor, flagged.tolist(), _fired_on_stations(blocks), *common, strict=True)
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
        quality == MISSING, _fired_on_sensors(blocks), run, run_limit, missing_run, missing_limit,
        own.max(axis=2), np.take_along_axis(signed[:, :, OWN], strongest, axis=2)[..., 0] > 0.0,
        ratio[:, :, LEVEL], np.copysign(ratio[:, :, NOISE], signed[:, :, NOISE]),
        np.maximum(ratio[:, :, CROSS_BAND], ratio[:, :, CROSS_LEVEL]),
        (ratio > blocks.witnesses("h")).any(axis=2),
    )  # fmt: skip
    by_sensor = [[column[:, sensor].tolist() for column in columns] for sensor in range(len(blocks.sensors))]
    per_sensor = [list(zip(*one, strict=True)) for one in by_sensor]
    return [list(row) for row in zip(*per_sensor, strict=True)]


def _fired_on_sensors(blocks: Blocks) -> np.ndarray:
    """The rules that fire on each sensor, (n, n_sensors) of tuples."""
    return _tuples(
        {rule: rule.fires(blocks) for rule in RULES if rule.scope == SENSOR}, (len(blocks), len(blocks.sensors))
    )


def _fired_on_stations(blocks: Blocks) -> list[tuple[Rule, ...]]:
    """The rules of the station that fire, one tuple a reading."""
    return list(_tuples({rule: rule.fires(blocks) for rule in RULES if rule.scope != SENSOR}, (len(blocks),)))


def _tuples(fired: dict[Rule, np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    found = np.empty(shape, object)
    found.fill(())
    for rule, where in fired.items():
        for place in zip(*np.nonzero(where), strict=True):
            found[place] = (*found[place], rule)
    return found
