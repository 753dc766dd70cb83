"""Counts of anomalies as the API shows them."""

from __future__ import annotations

from typing import Annotated, Self

from api.http.interval import Interval
from api.http.times import rfc3339
from api.representations import fields
from api.representations.common import Answer
from storage.tables.anomaly_counts import NO_SENSOR, Counted, Group


class CountGroup(Answer):
    """The counts of one group."""

    key: Annotated[str | None, fields.about("station, severity class or sensor; null where no sensor stands out")]
    total: fields.Count
    counts: list[fields.Count]


class Counts(Answer):
    """Counts of an interval."""

    start: fields.Time
    end: fields.Time
    step: str | None
    group_by: Annotated[str | None, fields.one_of("station", "severity", "sensor", None)]
    total: fields.Count
    times: Annotated[
        list[fields.Time],
        fields.about("start of each step; the first and last count only what lies in the interval"),
    ]
    counts: Annotated[list[fields.Count], fields.about("of each step, all groups together")]
    groups: list[CountGroup]

    @classmethod
    def from_counted(
        cls, interval: Interval, step: str | None, step_ms: int | None, group: Group | None, found: Counted
    ) -> Self:
        """What was counted; `step` and `group` as they were asked for."""
        groups = [
            CountGroup(None if key == NO_SENSOR else key, int(row.sum()), row.tolist())
            for key, row in zip(found.keys, found.counts, strict=True)
        ]
        start, end = interval.times()
        return cls(
            start,
            end,
            step=step,
            group_by=group,
            total=int(found.counts.sum()),
            times=[rfc3339(found.first_ms + at * (step_ms or 0)) for at in range(found.counts.shape[1])],
            counts=found.counts.sum(axis=0).tolist(),
            groups=groups if group else [],
        )
