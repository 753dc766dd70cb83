"""The shapes of the reference implementation: clients exist."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from api.http.times import rfc3339
from api.representations import fields
from api.representations.common import Answer, Schema, schemas_of
from api.representations.drift import Drift
from core.sensors import Sensor
from storage.tables.anomalies import AnomalyRow

LEGACY_NAMES = {"humidity": "humidity", "noise_level": "noise", "temperature": "temperature"}
"""Field of the reference → sensor. They are always there, null for a sensor the catalogue does not have."""


class _ReferenceAnomaly(Answer, kw_only=True):
    station_id: str
    record_time: Annotated[str, fields.schema(format="date-time")]
    humidity: float | None
    noise_level: float | None
    temperature: float | None
    is_outlier: Annotated[bool, fields.schema(const=True)]
    mlflow_id: str | None


class LatestAnomalies:
    """The newest anomalies, in the shape that a catalogue of sensors gives them.

    Args:
        sensors: the catalogue; those that the reference does not know come under their own names.
    """

    def __init__(self, sensors: tuple[Sensor, ...]) -> None:
        self.further = [sensor.name for sensor in sensors if sensor.name not in LEGACY_NAMES.values()]
        self._own = [name for name in self.further if name not in _ReferenceAnomaly.__struct_fields__]
        members = [(name, float | None) for name in self._own]
        self._kind: Callable[..., Any] = msgspec.defstruct("LatestAnomaly", members, bases=(_ReferenceAnomaly,))

    @property
    def schema(self) -> Schema:
        """The schema of the list."""
        return {"type": "array", "maxItems": 1000, "items": schemas_of(self._kind)["LatestAnomaly"]}  # type: ignore[arg-type]

    def from_row(self, row: AnomalyRow, run_id: str | None) -> Any:
        """What is stored; null is missing or not configured."""
        return self._kind(
            *(row.sensors.get(name) for name in self._own),
            station_id=row.station_id,
            record_time=rfc3339(row.event_ms),
            **{field: row.sensors.get(sensor) for field, sensor in LEGACY_NAMES.items()},
            is_outlier=True,
            mlflow_id=run_id,
        )


class OutliersCount(Answer):
    """A count, and the range as it was given."""

    time_range: Annotated[str, Meta(examples=["1h"])]
    outliers_count: fields.Count


class LegacyVerdict(Answer):
    """A verdict, and the values as they were sent."""

    is_anomaly: bool
    features: Annotated[dict[str, Any], fields.schema(additionalProperties={"type": ["number", "null"]})]
    model_version: str


class LegacyDrift(Answer):
    """The newest drift check in words, and the checks beside it."""

    msg: str
    drift: Drift
