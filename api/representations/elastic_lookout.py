"""Anomalies in the shapes of other systems, for clients that speak those."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Self

from msgspec import Meta

from api.representations import fields
from api.representations.anomalies import Anomaly
from api.representations.common import Answer, PagedAnswer, either
from core.reading import event_ms_of


class Influencer(Answer):
    """What an anomaly is an anomaly of."""

    influencer_field_name: str
    influencer_field_values: list[str]


class ElasticRecord(Answer, kw_only=True):
    """As Elastic's machine learning shows a record (get records API); one an anomaly, of its leading sensor.

    Left out are members that have no meaning here: `probability`, `bucket_span`, `multi_bucket_impact`.
    """

    job_id: str
    result_type: Annotated[str, fields.schema(const="record")] = "record"
    record_score: float
    initial_record_score: float
    detector_index: fields.Count = 0
    is_interim: bool = False
    timestamp: Annotated[int, Meta(ge=0, description="ms since the epoch")]
    function: str = "metric"
    function_description: str = "value"
    partition_field_name: str = "station_id"
    partition_field_value: str
    field_name: str | None
    actual: list[float]
    typical: list[float]
    influencers: list[Influencer]

    @classmethod
    def from_anomaly(cls, anomaly: Anomaly) -> Self:
        """The record of an anomaly."""
        leading = next((one for one in anomaly.sensors if one.name == anomaly.leading_sensor), None)
        return cls(
            job_id=anomaly.model.name,
            record_score=anomaly.severity,
            initial_record_score=anomaly.severity,
            timestamp=event_ms_of(anomaly.event_time),
            partition_field_value=anomaly.station_id,
            field_name=anomaly.leading_sensor,
            actual=_known([leading.actual] if leading else []),
            typical=_known([leading.typical] if leading else []),
            influencers=[Influencer("station_id", [anomaly.station_id])],
        )


class Diagnostic(Answer):
    """A sensor's share."""

    name: str
    value: float


class LookoutRecord(Answer, kw_only=True):
    """As AWS Lookout for Equipment writes an inference, and IoT SiteWise shows it; the score is severity / 100."""

    timestamp: str
    prediction: Annotated[int, fields.one_of(0, 1)] = 1
    prediction_reason: Annotated[str, fields.one_of("ANOMALY_DETECTED", "NO_ANOMALY_DETECTED")] = "ANOMALY_DETECTED"
    anomaly_score: Annotated[float, Meta(ge=0, le=1)]
    diagnostics: list[Diagnostic]

    @classmethod
    def from_anomaly(cls, anomaly: Anomaly) -> Self:
        """The inference of an anomaly."""
        return cls(
            timestamp=anomaly.event_time.removesuffix("Z") + "000",
            anomaly_score=round(anomaly.severity / 100, 6),
            diagnostics=[
                Diagnostic(f"{anomaly.station_id}\\{one.name}", one.contribution or 0.0) for one in anomaly.sensors
            ],
        )


# msgspec tells members of a union apart by tags, which these do not have.
RecordList = Annotated[list[Any], fields.schema(items=either(ElasticRecord, LookoutRecord))]


class Records(PagedAnswer):
    """A page of records."""

    start: fields.Time
    end: fields.Time
    count: fields.Count
    records: RecordList


def _known(numbers: Sequence[float | None]) -> list[float]:
    return [number for number in numbers if number is not None]
