"""How many anomalies there were over the last hours, as bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.http.interval import AHEAD_MS, Interval
from api.http.times import clock
from api.pages.conditions import TROUBLES
from api.services.anomaly_counter import AnomalyCounter
from core.times import HOUR_MS, MINUTE_MS, floored

HOURS = 12
STEP_MS = 10 * MINUTE_MS
BAR, PITCH, HEIGHT = 8, 10, 100
_LEAST = 2.0


def strip_of(counter: AnomalyCounter, now_ms: int) -> dict[str, Any]:
    """The strip up to now.

    Raises:
        StoreUnavailable: Cassandra is away.
    """
    start_ms = floored(now_ms, STEP_MS) + STEP_MS - HOURS * HOUR_MS
    found = counter.count(Interval(start_ms, now_ms + AHEAD_MS), STEP_MS, "severity")
    counts = {
        found.first_ms + STEP_MS * step: dict(zip(found.keys, column.tolist(), strict=True))
        for step, column in enumerate(found.counts.T)
    }
    return strip_view(counts, now_ms)


def strip_view(counts: Mapping[int, Mapping[str, int]], now_ms: int) -> dict[str, Any]:
    """Lay out the bars, the worst class at the bottom of each.

    Args:
        counts: start of a step in ms → severity class (`low` included) → anomalies.
        now_ms: ms since the epoch; the last bar holds it.
    """
    last = floored(now_ms, STEP_MS)
    starts = [last - STEP_MS * back for back in range(HOURS * HOUR_MS // STEP_MS - 1, -1, -1)]
    held = [_by_trouble(counts.get(start, {})) for start in starts]
    totals = [sum(one.values()) for one in held]
    most = max(totals, default=0)
    bars = [_bar(place, start, one, most) for place, (start, one) in enumerate(zip(starts, held, strict=True))]
    return {
        "hours": HOURS,
        "width": PITCH * len(starts),
        "height": HEIGHT,
        "bar": BAR,
        "bars": bars,
        "ticks": [f"{back} h ago" for back in range(HOURS, 0, -HOURS // 4)] + ["now"],
        "label": _label(starts, totals),
    }


def _by_trouble(counts: Mapping[str, int]) -> dict[str, int]:
    found = {kind: counts.get(kind, 0) for kind in TROUBLES}
    found["warning"] += counts.get("low", 0)
    return found


def _bar(place: int, start_ms: int, held: Mapping[str, int], most: int) -> dict[str, Any]:
    parts, top, total = [], float(HEIGHT), sum(held.values())
    # The square root: beside a fault that lasted, single readings would not be seen.
    tall = (HEIGHT - 4 * _LEAST) * (total / most) ** 0.5 if most else 0.0
    for kind in TROUBLES:
        if held[kind]:
            # Never thinner than the eye sees: one critical reading among a thousand warnings has to show.
            height = max(_LEAST, tall * held[kind] / total)
            top -= height
            parts.append({"kind": kind, "y": round(top, 2), "height": round(height, 2)})
    said = ", ".join(f"{held[kind]} {kind}" for kind in TROUBLES if held[kind])
    return {"x": place * PITCH + (PITCH - BAR) // 2, "parts": parts, "title": f"{clock(start_ms)[11:16]} UTC: {said}"}


def _label(starts: list[int], totals: list[int]) -> str:
    total, most = sum(totals), max(totals, default=0)
    if not total:
        return f"No anomaly in {HOURS} hours."
    peak = clock(starts[totals.index(most)])[11:16]
    return f"{total:,} abnormal readings; most in the 10 minutes from {peak} UTC: {most:,}."
