"""One sentence about a flagged reading: what, how far, since when, and what the other sensors do."""

from __future__ import annotations

import math

from core.sensors import Sensor
from models.explanation.cause import listed
from models.explanation.sensor_findings import Finding, Findings
from models.kernels.statistics_kernel import _LASTING_MOST, _LASTING_TAU

_UNIT_SHOWN = {"Cel": "°C", "1": ""}
# A station's mean of its largest ratio stays below this on normal readings.
_USUAL_LASTING = 0.6
_WORTH_TELLING = 5


def sentence(found: Findings) -> str:
    """Tell what the findings of a reading are."""
    leading = found.leading
    if found.gap and not (_ruled(leading) or leading.fired):
        told = f"Nothing arrived for {found.elapsed:.0f} s ({found.gap_limit:.0f} s are usual at most)"
        return f"{told}; {_others(found.sensors)}."
    as_a_whole = found.flagged and not any(one.fired or _ruled(one) for one in found.sensors)
    begin = f"Only the whole is unusual, most of all {leading.name}:" if as_a_whole else leading.name.capitalize()
    told = f"{begin} {_about(leading)}{_since(found)}"
    others = _others(found.others)
    return f"{told}; {others}." if others else f"{told}."


def _ruled(one: Finding) -> bool:
    return one.implausible or one.stuck or one.missing


def _about(one: Finding) -> str:
    """What is odd about the leading sensor, behind its name."""
    value = shown(one.actual, one.sensor)
    if one.absent:
        usual = f" ({one.missing_limit:.0f} are usual at most)" if one.missing and one.missing_limit else ""
        return f"is missing, for {readings(one.missing_run)}{usual}"
    if one.implausible:
        low, high = (number(bound, one.sensor) for bound in one.sensor.plausible)
        return f"{value} is outside its plausible range ({low} to {high})"
    if one.stuck:
        return f"has shown {value} for {readings(one.run)} in a row ({one.run_limit:.0f} are usual at most)"
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
    value = shown(one.actual, one.sensor)
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
    if leading.absent or leading.stuck or least < _WORTH_TELLING:
        return ""
    return f", for at least {least} readings"


def at_least(lasting: float) -> int:
    """Return for how many readings a station must have been unusual to show such a mean, 0 where it need not have.

    The mean has a memory of 30 readings and each counts at most 3, so it takes its time to rise.
    """
    share = (min(lasting, 0.99 * _LASTING_MOST) - _USUAL_LASTING) / (_LASTING_MOST - _USUAL_LASTING)
    return max(0, math.floor(-_LASTING_TAU * math.log1p(-share))) if share > 0.0 else 0


def _others(others: list[Finding]) -> str:
    normal = [one.name for one in others if not (one.fired or one.absent or _ruled(one))]
    odd = [one.name for one in others if (one.fired or _ruled(one)) and not one.absent]
    absent = [one.name for one in others if one.absent]
    parts = [f"{listed(odd)} {'departs' if len(odd) == 1 else 'depart'} too" if odd else ""]
    parts += [f"{listed(normal)} normal" if normal else "", f"{listed(absent)} missing" if absent else ""]
    return ", ".join(part for part in parts if part)


def readings(count: float) -> str:
    """A number of readings."""
    return "1 reading" if count == 1 else f"{count:.0f} readings"


def shown(value: float, sensor: Sensor) -> str:
    """A value with its unit."""
    return f"{number(value, sensor)} {_UNIT_SHOWN.get(sensor.unit, sensor.unit)}".rstrip()


def number(value: float, sensor: Sensor) -> str:
    """A value as exact as the sensor reports it; four digits where that is not known."""
    if sensor.resolution <= 0.0:
        return f"{value:.4g}"
    return f"{value:.{max(0, math.ceil(-math.log10(sensor.resolution) - 1e-9))}f}"
