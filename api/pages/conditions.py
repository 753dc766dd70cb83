"""The condition of a station: one word that decides colour, shape and place of its tile."""

from __future__ import annotations

from core.station_silence import is_silent
from core.verdict import severity_class
from storage.tables.stations import StationRow

CONDITIONS = ("critical", "silent", "major", "minor", "warning", "unknown", "warming-up", "normal")
"""Worst first. A station that nobody hears may be on fire, so only what is known to be critical stands above it."""

RANK = {condition: rank for rank, condition in enumerate(CONDITIONS)}

TROUBLES = ("critical", "major", "minor", "warning")

MEANINGS = {
    "critical": "an episode is open that reached severity 75",
    "major": "an episode is open that reached severity 50",
    "silent": "no reading for five of its usual intervals, and for a minute at least",
    "minor": "an episode is open that reached severity 25",
    "warning": "an episode is open below severity 25",
    "unknown": "the stream is not watching, so nobody knows",
    "warming-up": "too few readings yet to know what is typical here; judged by what is typical elsewhere",
    "normal": "readings arrive and none is abnormal",
}

WARM_READINGS = 30
"""Readings from which on a station's own statistics count more than the plant's. It is
models.kernels.statistics_kernel.YOUNG, not imported because that would bring the compiler into the API."""


def condition_of(row: StationRow, severity: float | None, stale: bool, now_ms: int) -> str:
    """One of `CONDITIONS`.

    Args:
        row: the station.
        severity: the worst of its open episode, 0…100; None when none is open.
        stale: the stream gives no sign; then nobody is heard and nothing is known.
        now_ms: ms since the epoch.
    """
    if stale:
        return "unknown"
    # Whatever was open when it fell silent is no longer known.
    if is_silent(row.last_record_ms, row.typical_interval_seconds, now_ms):
        return "silent"
    if severity is not None:
        return trouble(severity)
    return "warming-up" if row.readings < WARM_READINGS else "normal"


def trouble(severity: float) -> str:
    """The class of an episode. The class `low` counts as a warning: what is flagged is not shown as normal."""
    found = severity_class(severity)
    return "warning" if found == "low" else found
