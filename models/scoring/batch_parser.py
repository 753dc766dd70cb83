"""Many records at once: what is of the usual form is read by compiled code, all else goes to `Validator.validate`.

The fast way says yes to what needs no second look and no to nothing, so a record is judged as `validate` judges it, at
a tenth of the processor time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from core.errors import InvalidReading
from core.reading import MAX_AHEAD_MS, MAX_BEHIND_MS, MAX_BYTES, Reading, Validator
from models.kernels.jit import HAVE_NUMBA
from models.kernels.json_kernel import FIELDS, Fields, Scanned, Texts, scan

# Below it the columns cost more than they save.
FEW_RECORDS = 16


@dataclass(frozen=True)
class Read:
    """What became of records.

    Args:
        places: (n,) int64, which records are readings, ascending.
        station_ids: n ids.
        event_ms, seq: (n,) int64.
        values: (n, n_sensors) float64 in the sensors' units, NaN where missing.
        rejected: (place, reason, detail) of every other record, ascending.
    """

    places: np.ndarray
    station_ids: list[str]
    event_ms: np.ndarray
    seq: np.ndarray
    values: np.ndarray
    rejected: list[tuple[int, str, str]]


def read_all(validator: Validator, keys: pa.Array, values: pa.Array, record_ms: np.ndarray) -> Read:
    """Judge records as `validator.validate` does, one by one or all at once, whichever is cheaper.

    Args:
        validator: of the catalogue.
        keys: of n records, `pa.large_binary()`.
        values: of the same, likewise.
        record_ms: (n,) int64 Kafka timestamps, ms since the epoch.
    """
    if len(values) < FEW_RECORDS or not HAVE_NUMBA:
        return _slowly(validator, keys, values, record_ms, range(len(values)))
    fast, doubtful = _at_once(validator, keys, values, record_ms)
    return _merged(fast, _slowly(validator, keys, values, record_ms, doubtful)) if len(doubtful) else fast


def _at_once(validator: Validator, keys: pa.Array, values: pa.Array, record_ms: np.ndarray) -> tuple[Read, np.ndarray]:
    """Read the records that are surely readings. Returns them, and the places of all others."""
    held, n, n_sensors = _texts(values), len(values), len(validator.sensors)
    found = Scanned(
        sure=np.zeros(n, np.bool_),
        event_ms=np.zeros(n, np.int64),
        seq=np.zeros(n, np.int64),
        values=np.full((n, n_sensors), np.nan),
        decimals=np.zeros((n * n_sensors, 4), np.int64),
    )
    counts = np.zeros(1, np.int64)
    scan(held, _texts(keys), _fields(validator), found, counts)
    for record, sensor, start, end in found.decimals[: counts[0]].tolist():
        found.values[record, sensor] = float(held.data[start:end].tobytes()) + 0.0
    low, high = np.array([sensor.hard for sensor in validator.sensors], np.float64).reshape(-1, 2).T
    ahead = found.event_ms - record_ms
    sure = found.sure & (np.diff(held.ends) <= MAX_BYTES) & (ahead >= -MAX_BEHIND_MS) & (ahead <= MAX_AHEAD_MS)
    if keys.null_count or values.null_count:
        sure &= (keys.is_valid().to_numpy(zero_copy_only=False)) & (values.is_valid().to_numpy(zero_copy_only=False))
    sure &= (np.isnan(found.values) | ((found.values >= low) & (found.values <= high))).all(axis=1)
    chosen = np.flatnonzero(sure)
    ids = keys.take(pa.array(chosen)).cast(pa.large_string()).to_numpy(zero_copy_only=False).tolist()
    read = Read(chosen, ids, found.event_ms[chosen], found.seq[chosen], found.values[chosen], [])
    return read, np.flatnonzero(~sure)


def _fields(validator: Validator) -> Fields:
    names = [*FIELDS, *(sensor.name for sensor in validator.sensors)]
    required = [True for _ in FIELDS] + [not sensor.optional for sensor in validator.sensors]
    texts = _texts(pa.array([name.encode() for name in names], pa.large_binary()))
    return Fields(texts, np.array(required), np.full(len(names), -1, np.int64))


def _texts(held: pa.Array) -> Texts:
    """The bytes of an array, read-only wherever it came from, so that `scan` is compiled for one type."""
    _, ends, data = held.buffers()
    where = np.frombuffer(ends, np.int64)[held.offset : held.offset + len(held) + 1]
    found = Texts(np.frombuffer(data or b"", np.uint8), where)
    for part in found:
        part.flags.writeable = False
    return found


def _slowly(
    validator: Validator, keys: pa.Array, values: pa.Array, record_ms: np.ndarray, chosen: Sequence[int] | np.ndarray
) -> Read:
    """Judge the chosen records one by one."""
    readings: list[Reading] = []
    places: list[int] = []
    rejected: list[tuple[int, str, str]] = []
    for place in map(int, chosen):
        try:
            readings.append(validator.validate(keys[place].as_py(), values[place].as_py(), int(record_ms[place])))
            places.append(place)
        except InvalidReading as problem:  # noqa: PERF203 - a bad record costs itself only
            rejected.append((place, problem.reason, problem.detail))
    if not readings:
        return Read(*_no_arrays(validator), rejected)
    ids, event_ms, seq, numbers = zip(*readings, strict=True)
    return Read(
        np.array(places, np.int64),
        list(ids),
        np.array(event_ms, np.int64),
        np.array(seq, np.int64),
        np.array(numbers, np.float64).reshape(len(readings), len(validator.sensors)),
        rejected,
    )


def _merged(fast: Read, slow: Read) -> Read:
    places = np.concatenate((fast.places, slow.places))
    order = np.argsort(places)
    ids = fast.station_ids + slow.station_ids
    return Read(
        places[order],
        [ids[row] for row in order.tolist()],
        np.concatenate((fast.event_ms, slow.event_ms))[order],
        np.concatenate((fast.seq, slow.seq))[order],
        np.concatenate((fast.values, slow.values))[order],
        slow.rejected,
    )


def _no_arrays(validator: Validator) -> tuple[np.ndarray, list[str], np.ndarray, np.ndarray, np.ndarray]:
    none = np.zeros(0, np.int64)
    return none, [], none, none, np.zeros((0, len(validator.sensors)))
