"""A hint at the cause of a flagged reading, with its evidence. A rule of thumb a person can check, not a diagnosis.

A broken sensor disagrees with the others; what happens in the hall moves those that usually move together. What the
others foretell is already a witness, so agreement shows as a small cross-sensor residual beside a large departure.
How often it is right, and what right means: docs/explanations.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, Literal, NamedTuple

from models.explanation.sensor_findings import Finding, Findings

Hint = Literal["sensor_fault", "process", "environment", "unknown"]
HINTS: Final = ("sensor_fault", "process", "environment", "unknown")
# The share of the leading departure, and of a limit, from which another sensor counts as departing with it. Chosen on
# simulated plants (benchmarks/explanations.py).
_TOGETHER, _AT_LEAST = 0.35, 0.5
# A restless sensor is one whose restlessness is beyond its limit and says about as much as its values.
_RESTLESS = 0.8


class Cause(NamedTuple):
    """What probably happened, and what says so."""

    hint: Hint
    evidence: str


def cause_of(found: Findings, surroundings: Collection[str]) -> Cause:
    """Judge what the findings of a reading point at.

    Args:
        found: the reading.
        surroundings: names of the sensors that show the air of the hall, not the work done in it.
    """
    if not found.flagged:
        return Cause("unknown", "the reading is not flagged")
    ruled = _ruled(found)
    if ruled:
        return Cause("sensor_fault", ruled)
    leading = found.leading
    others = [one for one in found.others if not one.absent]
    together = [one for one in others if one.own >= max(_AT_LEAST, _TOGETHER * leading.own)]
    if together and leading.own >= 1.0:
        departing = [leading, *together]
        names = listed(one.name for one in departing)
        of_the_air = {one.sensor.name for one in departing} <= set(surroundings)
        return Cause("environment" if of_the_air else "process", f"{names} depart together")
    return _alone(leading, others)


def _ruled(found: Findings) -> str:
    """What the rules say, empty where none fires."""
    for one in found.sensors:
        if one.implausible:
            return f"{one.name} is outside its plausible range"
        if one.stuck:
            return f"{one.name} has shown one value for {one.run:.0f} readings, {one.run_limit:.0f} are usual at most"
        if one.missing:
            return f"{one.name} has been missing {one.missing_run:.0f} times in a row"
    if found.gap and not any(one.fired for one in found.sensors):
        return f"nothing arrived for {found.elapsed:.0f} s: the station or its connection"
    return ""


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
