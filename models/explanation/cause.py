"""A hint at the cause of a flagged reading, with its evidence. A rule of thumb a person can check, not a diagnosis.

A broken sensor disagrees with the others; what happens in the hall moves those that usually move together. What the
others foretell is already a witness, so agreement shows as a small cross-sensor residual beside a large departure.
How often it is right, and what right means: docs/explanations.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, Literal, NamedTuple, cast

from models.explanation.sensor_findings import Finding, Findings
from models.scoring.rules import Facts, Rule

Hint = Literal["sensor_fault", "process", "environment", "unknown"]
HINTS: Final[tuple[Hint, ...]] = ("sensor_fault", "process", "environment", "unknown")
# The share of the leading departure, and of a limit, from which another sensor counts as departing with it. Chosen on
# simulated plants (benchmarks/explanations.py).
_TOGETHER, _AT_LEAST = 0.35, 0.5
# A restless sensor is one whose restlessness is beyond its limit and says about as much as its values.
_RESTLESS = 0.8


class Cause(NamedTuple):
    """What probably happened, what says so, and what to do where the table of actions has no answer."""

    hint: Hint
    evidence: str
    action: str = ""


def cause_of(found: Findings, surroundings: Collection[str]) -> Cause:
    """Judge what the findings of a reading point at.

    Args:
        found: the reading.
        surroundings: names of the sensors that show the air of the hall, not the work done in it.
    """
    if not found.flagged:
        return Cause("unknown", "the reading is not flagged")
    for one in found.sensors:
        if one.rules:
            return _ruled(one.rules[0], found.facts(one))
    if found.rules and not any(one.fired for one in found.sensors):
        return _ruled(found.rules[0], found.facts(found.leading))
    leading = found.leading
    others = [one for one in found.others if not one.absent]
    together = [one for one in others if one.own >= max(_AT_LEAST, _TOGETHER * leading.own)]
    if together and leading.own >= 1.0:
        departing = [leading, *together]
        names = listed(one.name for one in departing)
        of_the_air = {one.sensor.name for one in departing} <= set(surroundings)
        return Cause("environment" if of_the_air else "process", f"{names} depart together")
    return _alone(leading, others)


def _ruled(rule: Rule, facts: Facts) -> Cause:
    """What a rule points at."""
    return Cause(HINTS[HINTS.index(cast(Hint, rule.hint))], rule.evidence(facts), rule.action)


def _alone(leading: Finding, others: list[Finding]) -> Cause:
    """One sensor departs."""
    if abs(leading.noise) >= 1.0 and abs(leading.noise) >= _RESTLESS * leading.own:
        how = "far more restless" if leading.noise > 0 else "far calmer"
        return Cause("sensor_fault", f"{leading.name} is {how} than it usually is")
    if not others:
        return Cause("unknown", f"no other sensor to compare {leading.name} with")
    normal = listed(one.name for one in others)
    if leading.cross >= max(1.0, leading.own):
        return Cause("sensor_fault", f"{leading.name} does not fit {normal}")
    return Cause("sensor_fault", f"{leading.name} departs alone; {normal} stay normal")


def listed(names: Iterable[str]) -> str:
    """Join names as a sentence does."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
