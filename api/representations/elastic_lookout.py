"""Anomalies in the shapes of other systems, for clients that speak those."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.reading import event_ms_of


def elastic_record(anomaly: dict[str, Any]) -> dict[str, Any]:
    """As Elastic's machine learning shows a record (get records API); one an anomaly, of its leading sensor.

    Left out are members that have no meaning here: `probability`, `bucket_span`, `multi_bucket_impact`.
    """
    leading = next((one for one in anomaly["sensors"] if one.name == anomaly["leading_sensor"]), None)
    return {
        "job_id": anomaly["model"]["name"],
        "result_type": "record",
        "record_score": anomaly["severity"],
        "initial_record_score": anomaly["severity"],
        "detector_index": 0,
        "is_interim": False,
        "timestamp": event_ms_of(anomaly["event_time"]),
        "function": "metric",
        "function_description": "value",
        "partition_field_name": "station_id",
        "partition_field_value": anomaly["station_id"],
        "field_name": anomaly["leading_sensor"],
        "actual": _known([leading.actual] if leading else []),
        "typical": _known([leading.typical] if leading else []),
        "influencers": [
            {"influencer_field_name": "station_id", "influencer_field_values": [anomaly["station_id"]]},
        ],
    }


def lookout_record(anomaly: dict[str, Any]) -> dict[str, Any]:
    """As AWS Lookout for Equipment writes an inference, and IoT SiteWise shows it; the score is severity / 100."""
    return {
        "timestamp": anomaly["event_time"].removesuffix("Z") + "000",
        "prediction": 1,
        "prediction_reason": "ANOMALY_DETECTED",
        "anomaly_score": round(anomaly["severity"] / 100, 6),
        "diagnostics": [
            {"name": f"{anomaly['station_id']}\\{one.name}", "value": one.contribution or 0.0}
            for one in anomaly["sensors"]
        ],
    }


def _known(numbers: Sequence[float | None]) -> list[float]:
    return [number for number in numbers if number is not None]
