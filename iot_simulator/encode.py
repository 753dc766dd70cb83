"""A reading as it travels: the JSON of the wire, keyed by station id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from iot_simulator.counter_rng import Floats
from models.evaluation.fault_models import Fault

SCHEMA_VERSION = 1
_ENCODER = msgspec.json.Encoder()


def encode_reading(station: str, event_time: str, seq: int, values: dict[str, float | None]) -> bytes:
    """Return one reading's JSON. NaN and None become null: a missing value.

    Args:
        station: station id.
        event_time: RFC 3339, UTC, milliseconds.
        seq: the station's number for the reading.
        values: by sensor name, in the sensors' units.
    """
    return _ENCODER.encode(
        {"schema_version": SCHEMA_VERSION, "station_id": station, "event_time": event_time, "seq": seq, **values}
    )


def encode_tick(
    stations: Sequence[str], event_time: str, seq: int, names: Sequence[str], values: Floats
) -> Iterator[bytes]:
    """Yield the readings of all stations at one tick, in the order of `stations`.

    Args:
        stations: station ids.
        event_time: RFC 3339, the same for all.
        seq: tick number.
        names: sensor names.
        values: (n_stations, n_sensors); NaN is missing.
    """
    for station, row in zip(stations, values.tolist(), strict=True):
        yield encode_reading(station, event_time, seq, dict(zip(names, row, strict=True)))


def encode_label(fault: Fault) -> bytes:
    """Return a fault's label as JSON; times in RFC 3339, UTC."""
    return _ENCODER.encode(fault)
