"""One sentence about a flagged reading: what, how far, since when, and what the other sensors do."""

from __future__ import annotations

import math

from core.sensors import number, with_unit
from models.explanation.cause import listed
from models.explanation.sensor_findings import Finding, Findings
from models.kernels.statistics_kernel import _LASTING_MOST, _LASTING_TAU
from models.scoring.rules import readings

# A station's mean of its largest ratio stays below this on normal readings.
_USUAL_LASTING = 0.6
_WORTH_TELLING = 5


def sentence(found: Findings) -> str:
    """Tell what the findings of a reading are."""
    leading = found.leading
    if found.rules and not (leading.rules or leading.fired):
        return f"{found.rules[0].sentence(found.facts(leading))}; {_others(found.sensors)}."
    as_a_whole = found.flagged and not any(one.fired or one.rules for one in found.sensors)
    begin = f"Only the whole is unusual, most of all {leading.name}:" if as_a_whole else leading.name.capitalize()
    told = f"{begin} {_about(leading, found)}{_since(found)}"
    others = _others(found.others)
    return f"{told}; {others}." if others else f"{told}."


def _about(one: Finding, found: Findings) -> str:
    """What is odd about the leading sensor, behind its name."""
    if one.rules:
        return one.rules[0].sentence(found.facts(one))
    if one.absent:
        return f"is missing, for {readings(one.missing_run)}"
    distance = _distance(one)
    noise = abs(one.noise)
    if noise > 1.0 and noise >= max(one.own, one.cross):
        return f"{distance} and is far {'more restless' if one.noise > 0 else 'calmer'} than usual"
    if one.cross > 1.0 and one.own < 1.0:
        return f"{distance} and does not fit the other sensors"
    if one.own > 1.0 and one.level < 1.0:
        return f"{distance} and has lately been too {'high' if one.above else 'low'}"
    return distance


def _distance(one: Finding) -> str:
    value = with_unit(one.actual, one.sensor)
    if math.isnan(one.typical) or math.isnan(one.lower):
        return f"{value}, its typical value is not known yet"
    off, typical, lower, upper = (
        number(known, one.sensor) for known in (abs(one.actual - one.typical), one.typical, one.lower, one.upper)
    )
    side = "at" if one.actual == one.typical else f"{off} {'above' if one.actual > one.typical else 'below'}"
    return f"{value} is {side} typical {typical} (normal {lower}–{upper})"


def _since(found: Findings) -> str:
    """For how long, where it is known and not said already."""
    leading, least = found.leading, at_least(found.lasting)
    if leading.absent or any(rule.says_how_long for rule in leading.rules) or least < _WORTH_TELLING:
        return ""
    return f", for at least {least} readings"


def at_least(lasting: float) -> int:
    """Return for how many readings a station must have been unusual to show such a mean, 0 where it need not have.

    The mean has a memory of 30 readings and each counts at most 3, so it takes its time to rise.
    """
    share = (min(lasting, 0.99 * _LASTING_MOST) - _USUAL_LASTING) / (_LASTING_MOST - _USUAL_LASTING)
    return max(0, math.floor(-_LASTING_TAU * math.log1p(-share))) if share > 0.0 else 0


def _others(others: list[Finding]) -> str:
    normal = [one.name for one in others if not (one.fired or one.absent or one.rules)]
    odd = [one.name for one in others if (one.fired or one.rules) and not one.absent]
    absent = [one.name for one in others if one.absent]
    parts = [f"{listed(odd)} {'departs' if len(odd) == 1 else 'depart'} too" if odd else ""]
    parts += [f"{listed(normal)} normal" if normal else "", f"{listed(absent)} missing" if absent else ""]
    return ", ".join(part for part in parts if part)
