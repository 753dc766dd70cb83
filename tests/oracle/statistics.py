"""What a plant's stations know before each of their readings, and what they learn: `docs/decisions/witnesses.md`.

Plain floats and dictionaries, one reading after another; what each witness says stands in `witnesses.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from core.sensors import Sensor
from models.scoring.station_prior import Prior
from tests.oracle import witnesses as recipe
from tests.oracle.stations import AHEAD_OF_BROKER_MS, FORGET_AFTER_MS, Decision
from tests.oracle.witnesses import CROSSED, LASTS, NAN, Kept, Moment, SensorMemory, as_kept, clip, hours

DAY = 86_400.0


@dataclass
class StationMemory:
    """What is learnt of one station. `together`: (cross witness, sensor, sensor) → covariance in spreads."""

    sensors: list[SensorMemory]
    own: Kept = field(default_factory=lambda: Kept(cadence=0.0, age=0.0, lasting=0.0))
    visits: Kept = field(default_factory=hours)
    together: Kept = field(default_factory=Kept)
    readings: int = 0
    clock_ms: int = 0
    record_ms: int = 0


class Statistics:
    """The statistics of all stations of a plant."""

    def __init__(self, sensors: Sequence[Sensor], prior: Prior) -> None:
        """Start without any station. `prior` is of the same sensors."""
        self.cadence, self.budget, self.gap_limit = prior.cadence, prior.budget, prior.gap_limit
        self.expected = recipe.expectations(prior, sensors)
        self.covariance = {
            (cross, i, j): float(prior.covariance[number, i, j])
            for number, cross in enumerate(CROSSED) for i in range(len(sensors)) for j in range(len(sensors))
        }  # fmt: skip
        self.stations: dict[str, StationMemory] = {}
        watched = [tail for expected in self.expected for tail in expected.tails.values() if tail[1] < math.inf]
        self.witnesses = max(1, len(watched))

    def take(self, decision: Decision) -> list[float]:
        """Return the block of an accepted reading, in the order of its columns, and learn from it."""
        reading, record_ms = decision.reading, decision.row.record_ms
        assert reading is not None
        station = self.stations.get(reading.station_id)
        if station is None or record_ms - station.record_ms > FORGET_AFTER_MS:
            station = StationMemory([SensorMemory(expected) for expected in self.expected])
            self.stations[reading.station_id] = station
        clock_ms = min(reading.event_ms, record_ms + AHEAD_OF_BROKER_MS)
        elapsed = 0.0
        if station.readings:
            clock_ms, record_ms = max(clock_ms, station.clock_ms), max(record_ms, station.record_ms)
            elapsed = (clock_ms - station.clock_ms) / 1000
        station.readings, station.clock_ms, station.record_ms = station.readings + 1, clock_ms, record_ms
        values = [NAN if value is None else as_kept(value) for value in reading.values]
        return self._observe(station, values, (reading.event_ms / 3_600_000 - 0.5) % 24, elapsed, decision.late)

    def _observe(
        self, station: StationMemory, values: list[float], hour: float, elapsed: float, late: bool
    ) -> list[float]:
        cadence = station.own["cadence"] or self.cadence
        dc = 0.0 if late else min(elapsed / cadence, recipe.MOST_DC)
        days = dc * cadence / DAY
        memories, together = self._with_begun(station, values)
        age = station.own["age"] + days
        moments = [recipe.look(memory, value, age, hour, dc) for memory, value in zip(memories, values, strict=True)]
        if len(moments) > 1:
            recipe.predict(moments, memories, together)
        rate = self._episodes_per_day(cadence) * cadence / DAY / self.witnesses
        described = [recipe.describe(*pair, rate) for pair in zip(memories, moments, strict=True)]
        worst = max(abs(ratio) for moment in moments for ratio in moment.ratio.values())
        lasting = station.own["lasting"]
        towards = min(worst, recipe.LASTING_MOST) - lasting
        lasting += (1 - math.exp(-dc / recipe.LASTING_READINGS)) * towards
        row = [station.readings, float(late), elapsed, max(10 * cadence, self.gap_limit), lasting]
        if not late:
            station.sensors, station.together = memories, together
            station.own["age"], station.own["lasting"] = min(age, 1000.0), lasting
            _learn_profile(station, moments, hour, dc, cadence)
            if len(moments) > 1:
                _learn_together(station, moments)
            for memory, moment in zip(memories, moments, strict=True):
                _learn(memory, moment, dc)
            _learn_cadence(station, elapsed, cadence)
        return row + [number for columns in described for number in columns]

    def _episodes_per_day(self, cadence: float) -> float:
        faster = 60 / cadence
        return self.budget * (faster if cadence >= 60 else faster**0.4)

    def _with_begun(self, station: StationMemory, values: list[float]) -> tuple[list[SensorMemory], Kept]:
        """The memories with sensors begun that have their first value; a late reading lets the caller forget them."""
        memories, together = list(station.sensors), Kept(station.together)
        for place, value in enumerate(values):
            if math.isnan(value) or memories[place].kept["count"] > 0:
                continue
            memories[place] = memories[place].begun(value)
            for (cross, i, j), covariance in self.covariance.items():
                if place in (i, j):
                    together[cross, i, j] = covariance
        return memories, together


def _learn_profile(station: StationMemory, moments: list[Moment], hour: float, dc: float, cadence: float) -> None:
    """Move the two hours around this one, and how far the values follow the profile."""
    before, share = int(hour), hour - int(hour)
    rates = {}
    for place, weight in ((before, 1 - share), ((before + 1) % 24, share)):
        if dc > 0:
            most = recipe.PROFILE_DAYS / 24 * DAY / cadence
            station.visits[place] = min(station.visits[place] + weight * dc, most)
        rates[place] = min(1.0, weight * dc / max(station.visits[place], 1.0))
    gain = min(1.0, dc * cadence / DAY / recipe.FOLLOW_DAYS)
    for memory, moment in zip(station.sensors, moments, strict=True):
        if not moment.f:
            continue
        kept, spread = memory.kept, memory.unit("level")
        off = as_kept(moment.value - kept["reference"])
        error = off - moment.daily
        if station.own["age"] > 1:
            error = clip(error, 3 * spread)
        for place, rate in rates.items():
            memory.profile[place] += rate * error
        kept["followed"] += gain * (clip(off, 6 * spread) * moment.daily - kept["followed"])
        kept["squared"] += gain * (moment.daily**2 - kept["squared"])


def _learn_together(station: StationMemory, moments: list[Moment]) -> None:
    """Move the covariances of the sensors that are there; what is far out counts less."""
    there = [place for place, moment in enumerate(moments) if moment.f]
    for cross, of in CROSSED.items():
        z = {place: moments[place].f[of] / station.sensors[place].unit(of) for place in there}
        far = max((abs(number) for number in z.values()), default=0.0)
        weight = min(1.0, (5 / far) ** 2) if far else 1.0
        for i in there:
            for j in there:
                seen = min(station.sensors[place].kept["count"] for place in (i, j))
                rate = weight * max(1 / (seen + recipe.CROSS_PRIOR), 1 / recipe.CROSS_READINGS)
                station.together[cross, i, j] += rate * (z[i] * z[j] - station.together[cross, i, j])


def _learn(memory: SensorMemory, moment: Moment, dc: float) -> None:
    """Move what is known of one sensor."""
    kept, expected, value = memory.kept, memory.expected, moment.value
    if not moment.f:
        kept["missing"] += 1
        return
    kept["missing"] = 0
    n, spread = kept["count"], memory.unit("level")
    for witness in LASTS:
        if expected.tails[witness][1] < math.inf:
            _learn_controller(memory, witness, abs(moment.ratio[witness]) > moment.h[witness])
    alarmed = any(abs(moment.ratio[witness]) > moment.h[witness] for witness in LASTS)
    for witness in LASTS:
        if expected.tails[witness][1] < math.inf:
            begins = kept["quiet", witness] == 0 and kept["within", witness] == 0
            _learn_witness(memory, witness, moment.f[witness], alarmed, begins)
    off = moment.rest - kept["reference"]
    if n > recipe.YOUNG:
        share = max(min(dc, 1.0) / recipe.REFERENCE_READINGS, 1 / (n + 1))
        kept["reference"] += share * clip(off, 2 * spread)
    else:
        kept["reference"] += clip(off, 6 * memory.unit("level")) / (n + 1)
    for tau, mean in zip(recipe.TAUS, moment.means, strict=True):
        kept[tau] = mean
    kept["quick"] = moment.quick
    step, share = abs(as_kept(value - kept["last"])), 1 / (n + 1)
    if n >= recipe.YOUNG or expected.known:
        step = min(step, 5 * max(kept["slow"], expected.floor))
        share = max(min(dc, 1.0) / recipe.LONG_STEPS, 1 / (n + recipe.YOUNG))
    kept["slow"] += share * (step - kept["slow"])
    if n > 0 and value == kept["last"]:
        kept["run"] += 1
    else:
        kept["longest"] = max(kept["longest"], min(kept["run"], moment.run_limit))
        kept["run"] = 1
    kept["last"], kept["count"] = value, n + 1


def _learn_controller(memory: SensorMemory, witness: str, beyond: bool) -> None:
    """Raise the limit with each episode and each further hour's worth of readings beyond it; else let it sink."""
    kept, trust = memory.kept, memory.expected.trust
    raised, quiet = kept["raised", witness], kept["quiet", witness]
    kept["quiet", witness] = 0 if beyond else min(255, quiet + 1)
    if beyond:
        kept["within", witness] = 0 if quiet > recipe.EPISODE_GAP else kept["within", witness] + 1
        if quiet > recipe.EPISODE_GAP:
            raised += recipe.H_EPISODE * (2 - trust)
        elif kept["within", witness] == recipe.EPISODE_AGAIN:
            raised += recipe.H_HOUR * (2 - trust)
            kept["within", witness] = 0
    most = math.log(recipe.H_MOST) + recipe.H_SLACK * trust
    kept["raised", witness] = min(most, raised) * (1 - 1 / recipe.H_READINGS)


def _learn_witness(memory: SensorMemory, witness: str, f: float, alarmed: bool, begins: bool) -> None:
    """Move the witness's tail and spread. `begins`: the reading is the first of an episode of the witness."""
    kept, lasts, unit = memory.kept, LASTS[witness], memory.unit(witness)
    n, root = kept["count"], math.sqrt(LASTS[witness])
    u, start, held = abs(f) / unit, kept["start", witness], recipe.TAIL_PRIOR * lasts
    share = (recipe.ALARM_SHARE if alarmed and not begins else 1.0) / min(n + held, max(recipe.TAIL_READINGS, held))
    if u > start:
        excess = min(u - start, recipe.FAR_EXCESS * memory.expected.tails[witness][2])
        kept["excess", witness] += min(1.0, share / recipe.TAIL) * (excess - kept["excess", witness])
    kept["start", witness] = start + recipe.QUANTILE_GAIN * share * ((u > start) - recipe.TAIL)
    if n < recipe.YOUNG and not memory.expected.known:
        share, size = 1 / (n + 1), abs(f)
    else:
        share = max(1 / (n + recipe.YOUNG * root + 1), 1 / (recipe.SPREAD_READINGS * root))
        share, size = share * (recipe.ALARM_SHARE if alarmed else 1.0), min(abs(f), 5 * unit)
    kept["spread", witness] += share * (recipe.SIGMA * size - kept["spread", witness])


def _learn_cadence(station: StationMemory, elapsed: float, cadence: float) -> None:
    """Follow the intervals; a gap says nothing about them."""
    if elapsed > 0:
        known, share = station.own["cadence"], max(0.01, 1 / station.readings)
        station.own["cadence"] = known + share * (min(elapsed, 3 * cadence) - known) if known else elapsed
