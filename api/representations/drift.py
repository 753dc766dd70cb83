"""Drift checks as the API shows them; what a window found is shown as `models.drift.report` declares it."""

from __future__ import annotations

import math
from collections import Counter
from typing import Annotated, Self

from api.http.interval import Interval
from api.http.times import rfc3339
from api.representations import fields
from api.representations.common import Answer
from core.feedback import EXPECTED, FALSE_POSITIVE, TRUE_POSITIVE, precision_of
from models.drift import report as stored
from models.drift.report import DriftSummary, FeatureDrift, Moved, ReferenceFacts, VerdictDrift, WindowCounts
from storage.driver.session import Store
from storage.tables import drift_reports
from storage.tables.feedback import feedback_between


class DriftWindow(Answer):
    """One window of a check."""

    counts: WindowCounts
    features: list[FeatureDrift]
    verdicts: VerdictDrift | None
    insufficient: Annotated[str | None, fields.about("why the window says nothing")]
    start: fields.Time
    end: fields.Time


class DriftReport(Answer):
    """One check, whole."""

    model_version: str
    answer: stored.Answer
    sentence: str
    persistent: Annotated[list[str], fields.about("features that fired in enough windows")]
    needed: Annotated[fields.Count, fields.about("windows in which a feature has to fire")]
    moved: Moved | None
    reference: ReferenceFacts | None
    windows: Annotated[list[DriftWindow], fields.about("oldest first")]
    checked_time: fields.Time

    @classmethod
    def from_report(cls, report: stored.DriftReport) -> Self:
        """What is stored."""
        windows = [DriftWindow.of(window) for window in report.windows]
        return cls.of(report, model_version=str(report.model_version), windows=windows)


class DriftCheck(Answer):
    """One check in short."""

    checked_time: fields.Time
    model_version: str
    answer: stored.Answer
    sentence: str
    persistent: list[str]
    effects: dict[str, float]

    @classmethod
    def from_row(cls, row: drift_reports.DriftSummary) -> Self:
        """What is stored."""
        short, time = DriftSummary.from_json(row.summary), rfc3339(row.checked_ms)
        return cls.of(short, checked_time=time, model_version=str(row.model_version))


class FeedbackPrecision(Answer):
    """How many of the anomalies of an interval that people spoke about were real."""

    true_positive: fields.Count
    false_positive: fields.Count
    expected: fields.Count
    precision: Annotated[float | None, fields.about("true positives among true and false ones; null without any")]
    low: Annotated[float, fields.about("95 % Wilson interval")]
    high: float

    @classmethod
    def read(cls, store: Store, interval: Interval) -> Self:
        """Count what people said.

        Raises:
            StoreUnavailable: Cassandra is away.
        """
        said = Counter(row.verdict for row in feedback_between(store, *interval))
        found = precision_of(said[TRUE_POSITIVE], said[FALSE_POSITIVE])
        share = None if math.isnan(found.precision) else found.precision
        return cls(said[TRUE_POSITIVE], said[FALSE_POSITIVE], said[EXPECTED], share, found.low, found.high)


class Drift(Answer):
    """The checks of an interval, and the newest of them whole."""

    model: str
    feedback: Annotated[FeedbackPrecision, fields.about("what people said of anomalies of the interval")]
    report: Annotated[DriftReport | None, fields.about("the newest check; null before the first one")]
    checks: Annotated[list[DriftCheck], fields.about("of the interval, newest first")]

    @classmethod
    def read(cls, store: Store, model: str, interval: Interval) -> Self:
        """What the retrainer's checks found.

        Raises:
            StoreUnavailable: Cassandra is away.
        """
        checks = drift_reports.summaries(store, model, *interval)
        newest = drift_reports.report(store, model, checks[0].checked_ms) if checks else None
        report = None if newest is None else DriftReport.from_report(stored.DriftReport.from_json(newest))
        shown = [DriftCheck.from_row(check) for check in checks]
        return cls(model, FeedbackPrecision.read(store, interval), report, shown)
