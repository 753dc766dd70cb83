"""What a task tells the driver of its part of a batch: counts for the metrics, nothing that is stored."""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np

from core.verdict import severity_class
from spark_jobs.tasks.judged import Judged
from spark_jobs.tasks.packing import COUNTS

# Upper edges of iot_event_to_stored_seconds, s.
LATENCY_EDGES = (0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)


class Report(msgspec.Struct):
    """Counts of one task, or of a whole batch.

    Args:
        records: how many were consumed, accepted, duplicate, late, minute_closed; see `packing.COUNTS`.
        rejected: reason → dead letters.
        scored: model version → readings.
        anomalies: (severity class, witness or rule that fired) → readings; one with several counts under each.
        latency: readings by time from event to stored, one more bin than `LATENCY_EDGES`.
        latency_sum: s.
        seconds: step → s spent by tasks.
    """

    records: dict[str, int]
    rejected: dict[str, int]
    scored: dict[int, int]
    anomalies: dict[str, int]
    latency: list[int]
    latency_sum: float
    seconds: dict[str, float]


def report_of(judged: Judged, seconds: dict[str, float], now_ms: int) -> bytes:
    """Count a task's part.

    Args:
        judged: its readings.
        seconds: step → s.
        now_ms: when they were stored, ms since the epoch.
    """
    output = judged.output
    delays = (now_ms - output.accepted["event_ms"].to_numpy()) / 1000.0
    bins = np.searchsorted(np.array(LATENCY_EDGES), delays)
    report = Report(
        records=dict(zip(COUNTS, output.counts.tolist(), strict=True)),
        rejected=dict(Counter(output.rejected["reason"].to_pylist())),
        scored=dict(zip(*(part.tolist() for part in np.unique(judged.versions, return_counts=True)), strict=True)),
        anomalies=_anomalies(judged),
        latency=np.bincount(bins, minlength=len(LATENCY_EDGES) + 1).tolist(),
        latency_sum=float(delays.sum()),
        seconds=seconds,
    )
    return msgspec.msgpack.encode(report)


def whole(parts: list[bytes]) -> Report:
    """Add up the reports of a batch's tasks."""
    total = Report({}, {}, {}, {}, [0] * (len(LATENCY_EDGES) + 1), 0.0, {})
    for part in parts:
        report = msgspec.msgpack.decode(part, type=Report)
        for name in ("records", "rejected", "scored", "anomalies", "seconds"):
            counts = getattr(total, name)
            for key, number in getattr(report, name).items():
                counts[key] = counts.get(key, 0) + number
        total.latency = [a + b for a, b in zip(total.latency, report.latency, strict=True)]
        total.latency_sum += report.latency_sum
    return total


def _anomalies(judged: Judged) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for row, document in judged.documents.items():
        said = msgspec.json.decode(document)
        fired = [witness["name"] for witness in said["witnesses"] if witness["fired"]] + said["rules"]
        name = severity_class(float(judged.verdicts.severity[row]))
        counts.update(f"{name}|{witness}" for witness in fired)
    return dict(counts)
