"""Stations and what they measured, as the API shows them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Self

from msgspec import Meta

from api.http.times import rfc3339
from api.representations import fields
from api.representations.common import Answer, PagedAnswer, either, rounded
from core.sensors import Sensor
from core.station_silence import is_silent
from core.verdict import Flag
from models.scoring.rules import rules_of
from storage.tables.minutes import MinuteRow
from storage.tables.minutes import SensorMinute as StoredMinute
from storage.tables.readings import ReadingRow
from storage.tables.stations import StationRow


class SensorValue(Answer):
    """A sensor's newest value."""

    name: str
    unit: str
    value: float | None


class Station(Answer):
    """A station and its group."""

    station_id: fields.StationId
    group: fields.StationGroup
    condition: Annotated[
        str,
        fields.one_of("reporting", "silent", "unknown"),
        fields.about("unknown while the stream gives no sign: then nobody is heard"),
    ]
    last_seen: Annotated[fields.Time, fields.about("when its last reading reached Kafka")]
    event_time: Annotated[fields.Time, fields.about("the station's clock: its newest believable event time")]
    readings: fields.Count
    typical_interval_seconds: float | None
    sensors: list[SensorValue]

    @classmethod
    def from_row(cls, row: StationRow, sensors: Iterable[Sensor], stale: bool, now_ms: int, group: str | None) -> Self:
        """What is stored; while the stream is stale nobody is heard, so that nobody can be called silent."""
        silent = is_silent(row.last_record_ms, row.typical_interval_seconds, now_ms)
        return cls.of(
            row,
            group=group,
            condition="unknown" if stale else "silent" if silent else "reporting",
            last_seen=rfc3339(row.last_record_ms),
            event_time=rfc3339(row.clock_ms),
            typical_interval_seconds=rounded(row.typical_interval_seconds),
            sensors=[SensorValue(sensor.name, sensor.unit, row.sensors.get(sensor.name)) for sensor in sensors],
        )


class Stations(PagedAnswer):
    """A page of stations."""

    stations: Annotated[list[Station], Meta(max_length=1000)]


class Reading(Answer):
    """One reading; null where a sensor's value was missing."""

    event_time: fields.Time
    seq: int
    sensors: dict[str, float | None]
    score: float
    severity: fields.Severity
    is_anomaly: bool
    late: bool
    rules: list[fields.Rule]
    model_version: str

    @classmethod
    def from_row(cls, row: ReadingRow, sensors: Iterable[Sensor]) -> Self:
        """What is stored."""
        return cls.of(
            row,
            sensors={sensor.name: row.sensors.get(sensor.name) for sensor in sensors},
            severity=rounded(row.severity),
            is_anomaly=bool(row.flags & Flag.ANOMALY),
            late=bool(row.flags & Flag.LATE),
            rules=rules_of(row.flags),
            model_version=str(row.model_version),
        )


class SensorMinute(Answer):
    """One sensor in one minute."""

    minimum: float
    mean: float
    maximum: float
    readings: fields.Count
    lower: float | None
    typical: float | None
    upper: float | None

    @classmethod
    def from_stored(cls, stored: StoredMinute) -> Self:
        """What is stored; all but `mean` and `readings` in 32 bits."""
        least, mean, most, readings, *band = stored
        return cls(rounded(least), mean, rounded(most), readings, *[rounded(edge) for edge in band])


class Minute(Answer):
    """One minute of a station; a sensor without any value in it is absent."""

    time: Annotated[fields.Time, fields.about("start of the minute")]
    closed: Annotated[bool, fields.about("false while readings may still be added")]
    readings: fields.Count
    sensors: dict[str, SensorMinute]

    @classmethod
    def from_row(cls, row: MinuteRow, closed: bool) -> Self:
        """What is stored."""
        sensors = {name: SensorMinute.from_stored(stored) for name, stored in row.sensors.items()}
        return cls(rfc3339(row.minute_ms), closed, row.readings, sensors)


# msgspec tells members of a union apart by tags, which these do not have.
ReadingsOrMinutes = Annotated[list[Any], Meta(max_length=1000), fields.schema(items=either(Reading, Minute))]


class Readings(PagedAnswer):
    """A page of readings or of minutes."""

    station_id: fields.StationId
    start: fields.Time
    end: fields.Time
    resolution: Annotated[str, fields.one_of("raw", "minute")]
    readings: ReadingsOrMinutes
