"""What a station's witnesses say of a reading, and where each is at its limit: `docs/decisions/witnesses.md`.

Plain floats and dictionaries. What a station keeps is rounded to float32, as the state is, and so is what two such
numbers give: a correlation near 1 would show the difference. Sensors are predicted from
each other by one regression each, where the product inverts a matrix.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from core.sensors import Sensor
from models.scoring.station_prior import Prior

NAN = float("nan")
# How many readings one excursion of each witness lasts.
LASTS = {
    "innovation": 1, "band_12": 6, "band_48": 24, "level": 2, "level_12": 6, "level_48": 20, "level_192": 60,
    "noise": 6, "cross_band": 6, "cross_level": 20,
}  # fmt: skip
CROSSED = {"cross_band": "band_12", "cross_level": "level_48"}
TAUS = (3, 12, 48, 192)
CAUGHT_UP = (2.0, 1.6, 1.28, 1.024)  # spreads from the reference at which each average stops to hurry back
HURRY = 12.0
MOST_DC = 50.0
SIGMA = 1.2533141  # sqrt(pi / 2), as far as float32 knows it
YOUNG = 30
TAIL = 0.02
QUANTILE_GAIN = 19.0
FAR_EXCESS = 8.0
LEAST_LIMIT = 3.0
STEPS_OF_RESOLUTION = 1.5
SHORT_STEPS, LONG_STEPS = 12.0, 6000.0
REFERENCE_READINGS, SPREAD_READINGS = 2880.0, 6000.0
TAIL_READINGS, TAIL_PRIOR = 60_000.0, 1000.0
PROFILE_DAYS, FOLLOW_DAYS = 7.0, 2.0
LASTING_READINGS, LASTING_MOST = 30.0, 3.0
CROSS_READINGS, CROSS_PRIOR, RIDGE, CROSS_MOST = 6000.0, 300.0, 0.05, 20.0
H_EPISODE, H_HOUR, H_SLACK, H_MOST, H_READINGS = 0.3, 0.45, 0.6, 8.0, 3000.0
ALARM_SHARE = 0.1  # of what a sensor in alarm teaches, but for the tail that begins an episode
EPISODE_GAP, EPISODE_AGAIN = 10, 60


def as_kept(number: float) -> float:
    """Round to float32."""
    return float(struct.unpack("<f", struct.pack("<f", number))[0])


def clip(number: float, most: float) -> float:
    """Cut to -most…most."""
    return max(-most, min(most, number))


class Kept(dict[Any, float]):
    """What the state keeps: numbers by name, float32."""

    def __setitem__(self, name: Any, number: float) -> None:
        """Keep a number, rounded."""
        super().__setitem__(name, as_kept(number))


@dataclass
class Expectation:
    """What the prior says of one sensor. `tails`: witness → (spread, start, excess, shape)."""

    floor: float
    resolution: float
    run_limit: float
    missing_limit: float
    plausible: tuple[float, float]
    trust: float
    tails: dict[str, tuple[float, float, float, float]]

    @property
    def known(self) -> bool:
        """Whether its first readings may be judged."""
        return self.tails["level"][0] > 0


def expectations(prior: Prior, sensors: Sequence[Sensor]) -> list[Expectation]:
    """What the prior says of each sensor."""
    found = []
    for place, sensor in enumerate(sensors):
        columns = (prior.spread, prior.tail_start, prior.tail_excess, prior.tail_shape)
        tails = {}
        for number, witness in enumerate(LASTS):
            spread, start, excess, shape = (float(table[place, number]) for table in columns)
            tails[witness] = (spread, start, excess, shape)
        single = (prior.floor, prior.resolution, prior.run_limit, prior.missing_limit)
        floor, resolution, run_limit, missing_limit = (float(row[place]) for row in single)
        found.append(Expectation(floor, resolution, run_limit, missing_limit, sensor.plausible, prior.trust, tails))
    return found


def hours() -> Kept:
    """A number for each hour of the day."""
    return Kept(dict.fromkeys(range(24), 0.0))


@dataclass
class SensorMemory:
    """What is learnt of one sensor: numbers by name, or by (name, witness), and its daily profile by hour."""

    expected: Expectation
    kept: Kept = field(default_factory=lambda: Kept(count=0.0, missing=0.0, followed=0.0, squared=0.0))
    profile: Kept = field(default_factory=hours)

    def unit(self, witness: str) -> float:
        """What the witness is divided by, in its own unit."""
        floor = 1e-3 if witness in ("noise", *CROSSED) else self.expected.floor
        return max(self.kept["spread", witness], floor)

    def begun(self, value: float) -> SensorMemory:
        """The sensor at its first value."""
        kept, tails = Kept(self.kept), self.expected.tails
        for name in ("reference", *TAUS, "last"):
            kept[name] = value
        kept["quick"] = kept["slow"] = max(self.expected.floor, tails["innovation"][0])
        kept["run"] = kept["longest"] = 0.0
        for witness, (spread, start, excess, _) in tails.items():
            kept["spread", witness], kept["start", witness], kept["excess", witness] = spread, start, excess
            kept["raised", witness], kept["quiet", witness], kept["within", witness] = 0.0, 255, 0
        return SensorMemory(self.expected, kept, Kept(self.profile))

    def moves(self, dc: float, tau: float) -> float:
        """How much of the way an average with time constant `tau` goes, in 0…1."""
        return max(1 - math.exp(-dc / tau), 1 / (self.kept["count"] + 1)) if dc > 0 else 0.0

    def limit(self, witness: str, rate: float) -> float:
        """Spreads at which the witness is at its own limit; `rate` is the share of readings that one may fire on."""
        lasts, n = LASTS[witness], self.kept["count"]
        shape = self.expected.tails[witness][3]
        rarer = max(2.0, TAIL / (rate * lasts))
        reach = (1 - shape) * (rarer**shape - 1) / shape if shape else math.log(rarer)
        limit = max(LEAST_LIMIT, self.kept["start", witness] + self.kept["excess", witness] * reach)
        limit *= 1 + math.sqrt(lasts / (n + 1))
        return limit * (1 + (6 * lasts + (15 if n < YOUNG else 0)) / (n + 1))

    def h(self, witness: str) -> float:
        """By what its episodes raise the witness's limit, float32."""
        beyond_slack = max(0.0, self.kept["raised", witness] - H_SLACK * self.expected.trust)
        return as_kept(min(H_MOST, math.exp(beyond_slack)))


@dataclass
class Moment:
    """One sensor at one reading.

    Args:
        value: sensor units, NaN where missing.
        daily: the profile at this hour, sensor units.
        cycle: as much of it as is believed.
        means: the averages with this reading; of `TAUS`.
        quick: the short average of |differences| with this reading.
        f: witness → what it says: sensor units, but spreads for the cross witnesses. Empty where missing.
        ratio: witness → f over its limit, float32.
        h: witness → by what its limit is raised, float32.
        run_limit: readings.
    """

    value: float
    daily: float
    cycle: float
    means: tuple[float, ...] = ()
    quick: float = NAN
    f: dict[str, float] = field(default_factory=dict)
    ratio: dict[str, float] = field(default_factory=dict)
    h: dict[str, float] = field(default_factory=dict)
    run_limit: float = NAN

    @property
    def rest(self) -> float:
        """The value without its daily cycle."""
        return self.value - self.cycle


def look(memory: SensorMemory, value: float, age: float, hour: float, dc: float) -> Moment:
    """What the witnesses of one sensor say of a value. `age` in days, `hour` from the middle of the first hour on."""
    kept, before = memory.kept, int(hour)
    share = hour - before
    daily = (1 - share) * memory.profile[before] + share * memory.profile[(before + 1) % 24]
    followed = as_kept(kept["followed"] / kept["squared"]) if kept["squared"] > 0 else 0.0
    moment = Moment(value, daily, min(1.0, max(0.0, age - 1)) * min(1.0, max(0.0, followed)) * daily)
    if math.isnan(value):
        return moment
    spread, reference = memory.unit("level"), kept["reference"]
    off = moment.rest - reference
    means = []
    for tau, caught_up in zip(TAUS, CAUGHT_UP, strict=True):
        hurries = abs(off) < 2 * spread and abs(kept[tau] - reference) > caught_up * spread
        target = moment.rest if tau == 3 else reference + clip(off, 6 * spread)
        means.append(kept[tau] + memory.moves(dc * (HURRY if hurries else 1), tau) * (target - kept[tau]))
    m3, m12, m48, m192 = moment.means = tuple(means)
    step = min(abs(as_kept(value - kept["last"])), FAR_EXCESS * max(kept["slow"], memory.expected.floor))
    moment.quick = kept["quick"] + memory.moves(dc, SHORT_STEPS) * (step - kept["quick"])
    least = max(memory.expected.floor, 1e-12)
    moment.f = {
        "innovation": moment.rest - kept[3], "band_12": m3 - m48, "band_48": m12 - m192, "level": off,
        "level_12": m12 - reference, "level_48": m48 - reference, "level_192": m192 - reference,
        "noise": math.log((moment.quick + least) / (kept["slow"] + least)), "cross_band": 0.0, "cross_level": 0.0,
    }  # fmt: skip
    return moment


def predict(moments: list[Moment], memories: list[SensorMemory], together: Kept) -> None:
    """Say what is left of each sensor's band and level when the others' are known.

    Args:
        moments: of all sensors; their cross witnesses are written.
        memories: of all sensors.
        together: (cross witness, sensor, sensor) → covariance in spreads.
    """
    there = [place for place, moment in enumerate(moments) if moment.f]
    for cross, of in CROSSED.items():
        z = {place: clip(moments[place].f[of] / memories[place].unit(of), CROSS_MOST) for place in there}
        for place in there:
            others = [other for other in there if other != place]
            matrix = [[_correlation(together, cross, i, j) for j in others] for i in others]
            weights = _solved(matrix, [_correlation(together, cross, place, other) for other in others])
            told = (weight * z[other] for weight, other in zip(weights, others, strict=True))
            moments[place].f[cross] = z[place] - sum(told)


def _correlation(together: Kept, cross: str, i: int, j: int) -> float:
    if i == j:
        return 1 + RIDGE
    scale = as_kept(together[cross, i, i] * together[cross, j, j])
    return as_kept(together[cross, i, j] / as_kept(math.sqrt(scale))) if scale > 0 else 0.0


def _solved(matrix: list[list[float]], right: list[float]) -> list[float]:
    """Solve matrix @ x = right by elimination; the matrix is positive definite by its ridge."""
    rows = [[*row, number] for row, number in zip(matrix, right, strict=True)]
    for i, row in enumerate(rows):
        for below in rows[i + 1 :]:
            factor = below[i] / row[i]
            below[:] = [a - factor * b for a, b in zip(below, row, strict=True)]
    found: list[float] = []
    for i in reversed(range(len(rows))):
        known = sum(a * x for a, x in zip(rows[i][i + 1 : -1], found, strict=True))
        found.insert(0, (rows[i][-1] - known) / rows[i][i])
    return found


def describe(memory: SensorMemory, moment: Moment, rate: float) -> list[float]:
    """Return one sensor's columns of the block; `rate` as in `limit`."""
    kept, expected, value = memory.kept, memory.expected, moment.value
    n, missing = kept["count"], math.isnan(value)
    begun = n > 0 or not missing
    typical = kept["reference"] + moment.cycle if begun else NAN
    spread = memory.unit("level") if begun else expected.tails["level"][0]
    half = spread * memory.limit("level", rate) if begun else NAN
    low, high = expected.plausible
    run = 0.0 if missing else kept["run"] + 1 if n > 0 and value == kept["last"] else 1.0
    moment.run_limit = max(expected.run_limit, 1.5 * kept.get("longest", 0.0))
    row = [value, 1 if missing else 0 if low <= value <= high else 2, n / (n + YOUNG)]
    row += [typical, spread, typical - half, typical + half, run, moment.run_limit]
    row += [kept["missing"] + 1 if missing else 0.0, expected.missing_limit]
    judged = not missing and (n >= YOUNG or expected.known)
    for witness in LASTS:
        ratio = 0.0
        if judged and expected.tails[witness][1] < math.inf:
            unit, limit = memory.unit(witness), memory.limit(witness, rate)
            if witness != "noise":
                own = memory.unit(CROSSED[witness]) if witness in CROSSED else 1.0
                limit = max(limit, STEPS_OF_RESOLUTION * expected.resolution / (own * unit))
            ratio = as_kept(moment.f[witness] / (unit * limit))
        moment.ratio[witness] = ratio
        moment.h[witness] = memory.h(witness) if begun else 1.0
        row += [ratio, moment.h[witness]]
    return row
