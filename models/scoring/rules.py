"""The rules: fixed conditions that flag a reading by themselves. One entry of `RULES` is a whole rule.

Verdict, explanation, training, page, API, alarms and `docs/rules.md` read this table. To add a rule, add an entry with
the next free bit, and run `make rules-page`. Nothing compiled is imported here, so that the page can read the words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from core.sensors import Sensor, number, with_unit
from models.kernels.columns import IMPLAUSIBLE as QUALITY_IMPLAUSIBLE

if TYPE_CHECKING:
    from models.scoring.feature_block import Blocks

SENSOR, STATION = "sensor", "station"


class Facts(NamedTuple):
    """What the words of a rule are made from.

    Args:
        sensor: that the rule fired on; for a rule of the station the leading one.
        actual: its value, in its unit; NaN where missing.
        run, run_limit, missing_run, missing_limit: readings.
        elapsed, gap_limit: s.
    """

    sensor: Sensor
    actual: float
    run: float
    run_limit: float
    missing_run: float
    missing_limit: float
    elapsed: float
    gap_limit: float

    @property
    def name(self) -> str:
        """The sensor's name, as people read it."""
        return self.sensor.name.replace("_", " ")


class Rule(NamedTuple):
    """One rule.

    Args:
        name: a word, as in the API.
        bit: of a reading's flags. Stored; never used again for another rule.
        scope: `SENSOR`, or `STATION` for a rule about the whole reading.
        fires: blocks → (n, n_sensors) bool; (n,) for a rule of the station.
        ratio: multiple of the limit that a firing rule counts as; it sets score and severity.
        meaning: what it says, for the page and the documents.
        sentence: words behind the sensor's name; for a rule of the station a whole clause.
        evidence: of the cause.
        hint: the cause that it points at; see `models.explanation.cause`.
        action: what to do, where the reviewed table has nothing for the sensor; empty for none.
        nearness: blocks → (n, n_sensors), how near it is to firing, 1 at its limit; None for a rule without degrees.
        says_how_long: whether its sentence says for how long.
        exempting: whether feedback may switch it off for a look of a station.
    """

    name: str
    bit: int
    scope: str
    fires: Callable[[Blocks], np.ndarray]
    ratio: float
    meaning: str
    sentence: Callable[[Facts], str]
    evidence: Callable[[Facts], str]
    hint: str = "sensor_fault"
    action: str = ""
    nearness: Callable[[Blocks], np.ndarray] | None = None
    says_how_long: bool = False
    exempting: bool = True


def readings(count: float) -> str:
    """Return a number of readings in words."""
    return "1 reading" if count == 1 else f"{count:.0f} readings"


def _range(facts: Facts) -> str:
    low, high = (number(bound, facts.sensor) for bound in facts.sensor.plausible)
    return f"{low} to {high}"


def _usual(limit: float) -> str:
    return f" ({limit:.0f} are usual at most)" if limit else ""


IMPLAUSIBLE = Rule(
    name="implausible",
    bit=16,
    scope=SENSOR,
    fires=lambda blocks: blocks.per_sensor("quality") == QUALITY_IMPLAUSIBLE,
    ratio=5.0,
    meaning="the value lies outside what this sensor can plausibly measure",
    sentence=lambda it: f"{with_unit(it.actual, it.sensor)} is outside its plausible range ({_range(it)})",
    evidence=lambda it: f"{it.name} is outside its plausible range",
    exempting=False,
)
STUCK = Rule(
    name="stuck",
    bit=32,
    scope=SENSOR,
    fires=lambda blocks: blocks.per_sensor("run") > blocks.per_sensor("run_limit"),
    nearness=lambda blocks: blocks.per_sensor("run") / blocks.per_sensor("run_limit"),
    ratio=2.0,
    meaning="the same value came far more often in a row than is usual",
    sentence=lambda it: (
        f"has shown {with_unit(it.actual, it.sensor)} for {readings(it.run)} in a row"
        f" ({it.run_limit:.0f} are usual at most)"
    ),
    evidence=lambda it: (
        f"{it.name} has shown one value for {it.run:.0f} readings, {it.run_limit:.0f} are usual at most"
    ),
    says_how_long=True,
)
MISSING = Rule(
    name="missing",
    bit=64,
    scope=SENSOR,
    fires=lambda blocks: blocks.per_sensor("missing_run") > blocks.per_sensor("missing_limit"),
    nearness=lambda blocks: blocks.per_sensor("missing_run") / (blocks.per_sensor("missing_limit") + np.float32(1.0)),
    ratio=2.0,
    meaning="the value is missing though this sensor usually reports",
    sentence=lambda it: f"is missing, for {readings(it.missing_run)}{_usual(it.missing_limit)}",
    evidence=lambda it: f"{it.name} has been missing {it.missing_run:.0f} times in a row",
    says_how_long=True,
)
GAP = Rule(
    name="gap",
    bit=128,
    scope=STATION,
    fires=lambda blocks: blocks.common("elapsed") > blocks.common("gap_limit"),
    ratio=1.5,
    meaning="nothing came for much longer than usual before this reading",
    sentence=lambda it: f"Nothing arrived for {it.elapsed:.0f} s ({it.gap_limit:.0f} s are usual at most)",
    evidence=lambda it: f"nothing arrived for {it.elapsed:.0f} s: the station or its connection",
)

RULES = (IMPLAUSIBLE, STUCK, MISSING, GAP)
# Bits of `core.verdict.Flag`.
_OTHER_BITS = 1 | 2 | 4 | 8 | 256


def rule_bits(rules: tuple[Rule, ...] = RULES) -> int:
    """Return the bits of all of them.

    Raises:
        ValueError: two rules share a bit, or one has a bit that means something else.
    """
    bits = 0
    for rule in rules:
        if rule.bit.bit_count() != 1 or rule.bit & (bits | _OTHER_BITS):
            raise ValueError(f"rule {rule.name}: bit {rule.bit} is in use; take the next power of two")
        bits |= rule.bit
    return bits


RULE_BITS = rule_bits()


def apply_rules(blocks: Blocks) -> tuple[np.ndarray, np.ndarray]:
    """Look at every rule.

    Args:
        blocks: n readings.

    Returns:
        (n,) int32 bits of the rules that fire; (n,) float64 how near the nearest rule with degrees is to firing, in
        0…1.
    """
    flags, nearest = np.zeros(len(blocks), np.int32), np.zeros(len(blocks), np.float32)
    for rule in RULES:
        fires = rule.fires(blocks)
        # Sensor by sensor: numpy reduces a short last axis ten times slower.
        for fired in fires.T if fires.ndim == 2 else (fires,):
            flags |= fired * np.int32(rule.bit)
        if rule.nearness is not None:
            for near in rule.nearness(blocks).T:
                np.maximum(nearest, near, out=nearest)
    return flags, np.minimum(nearest, np.float32(1.0)).astype(np.float64)


def rules_of(flags: int) -> list[str]:
    """Return the names of the rules that fired."""
    return [rule.name for rule in RULES if flags & rule.bit]


def rules_page() -> str:
    """Return `docs/rules.md`."""
    rows = "\n".join(
        f"| `{rule.name}` | {rule.scope} | {rule.meaning} | {rule.ratio:g} | {rule.hint} |"
        f" {'yes' if rule.exempting else 'no'} |"
        for rule in RULES
    )
    return f"{_HEAD}{rows}\n"


_HEAD = """# Rules

A rule flags a reading by a fixed condition, whatever the statistics and the model say. `make rules-page` writes this
page from `models/scoring/rules.py`.

| Rule | About | It fires when | Counts as limits | Points at | Feedback may exempt it |
|---|---|---|---|---|---|
"""
