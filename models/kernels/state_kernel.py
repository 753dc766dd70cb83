"""The compiled state step: one pass over readings in Kafka order: duplicates, lateness, clocks, minutes.

`statistics_kernel.py` learns from the values; `scoring/shard_state.py` packs and grows the arrays.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from models.kernels.jit import compiled
from models.kernels.statistics_kernel import PriorArrays, Statistics, band, forget, observe

# --- columns of the state -------------------------------------------------------------------------------------------
RING = 32  # identities held per station
OPEN_MINUTES = 3
CLOCK, RECORD, ORDINAL, FLUSHED = 0, 1, 2, 3
N_LONGS = 4
SUM, LEAST, MOST, VALUES = 0, 1, 2, 3
N_MINUTE = 4
NO_MINUTE = -1


class StationArrays(NamedTuple):
    """The state of the stations of a shard, one row each.

    longs: (n, N_LONGS) int64: clock, last record time (ms), accepted readings, record time of the last station row.
    identities: (n, RING) uint64 hashes of (event_time, seq). contents: (n, RING) uint32 hashes of the values.
    statistics: see there.
    minutes: (n, OPEN_MINUTES) int32 minute of the epoch or NO_MINUTE. minute_readings: (n, OPEN_MINUTES) int32.
    minute_stats: (n, OPEN_MINUTES, n_sensors, N_MINUTE) float32: sum, least, most, number of values.
    minute_rest: (n, OPEN_MINUTES, n_sensors) float32, what rounding left out of the sums.
    """

    longs: np.ndarray
    identities: np.ndarray
    contents: np.ndarray
    statistics: Statistics
    minutes: np.ndarray
    minute_readings: np.ndarray
    minute_stats: np.ndarray
    minute_rest: np.ndarray


# --- what became of a record ----------------------------------------------------------------------------------------
ACCEPTED, DUPLICATE, CONFLICT = 0, 1, 2
CLOSED_COLUMNS = 4  # sum already divided: mean, least, most, values
BAND = 3  # lower, typical, upper

# --- constants of the recipe ----------------------------------------------------------------------------------------
AHEAD_MS = 30_000  # how far a station's clock may run ahead of its record time
FORGET_MS = 7 * 24 * 3600 * 1000
# Memory is freed much later: partitions of a replayed topic may be weeks apart, and each has stations of one shard.
FREE_MS = 60 * 24 * 3600 * 1000
MINUTE_MS = 60_000


@compiled()
def _mixed(word: np.uint64) -> np.uint64:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014): every input bit reaches every output bit."""
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


@compiled()
def identity_hashes(event_ms: np.ndarray, seq: np.ndarray, out: np.ndarray) -> None:
    """Hash (event_time, seq) of each reading, (n,) int64 each, into `out`, (n,) uint64."""
    for row in range(len(event_ms)):
        first = _mixed(np.uint64(event_ms[row]) + np.uint64(0x9E3779B97F4A7C15))
        out[row] = _mixed(first ^ _mixed(np.uint64(seq[row]) + np.uint64(0xD1B54A32D192ED03)))


@compiled()
def content_hashes(value_bits: np.ndarray, out: np.ndarray) -> None:
    """Hash the values of each reading, (n, n_sensors) uint64 views of float64, into `out`, (n,) uint32."""
    for row in range(value_bits.shape[0]):
        word = np.uint64(0)
        for sensor in range(value_bits.shape[1]):
            word = _mixed(word ^ value_bits[row, sensor] + np.uint64(0x9E3779B97F4A7C15))
        out[row] = np.uint32(word >> np.uint64(32))


@compiled()
def _reset(a: StationArrays, station: int) -> None:
    """Make the station new."""
    a.longs[station, :] = 0
    a.longs[station, CLOCK] = -(2**62)
    a.identities[station, :] = 0
    a.contents[station, :] = 0
    forget(a.statistics, station)
    a.minutes[station, :] = NO_MINUTE
    a.minute_readings[station, :] = 0
    a.minute_stats[station, :, :, :] = 0.0
    a.minute_rest[station, :, :] = 0.0


@compiled()
def _seen_before(a: StationArrays, station: int, identity: np.uint64, content: np.uint32) -> int:
    """Look the identity up among those held: ACCEPTED (unknown), DUPLICATE, or CONFLICT."""
    for place in range(min(a.longs[station, ORDINAL], RING)):
        if a.identities[station, place] == identity:
            return DUPLICATE if a.contents[station, place] == content else CONFLICT
    return ACCEPTED


@compiled()
def _count_minute(a: StationArrays, station: int, minute: int, values: np.ndarray) -> bool:
    """Add the reading to its open minute. False when that minute has closed already."""
    place = minute % OPEN_MINUTES
    if a.minutes[station, place] != minute:
        if a.minutes[station, place] > minute:
            return False
        a.minutes[station, place] = minute
        a.minute_readings[station, place] = 0
        a.minute_stats[station, place, :, :] = 0.0
        a.minute_rest[station, place, :] = 0.0
    a.minute_readings[station, place] += 1
    for sensor in range(len(values)):
        value = values[sensor]
        if math.isnan(value):
            continue
        cell = a.minute_stats[station, place, sensor]
        if cell[VALUES] == 0:
            cell[LEAST], cell[MOST] = value, value
        # Neumaier's sum: one reading far from the others costs the mean no digit.
        total = cell[SUM] + value
        large, small = (cell[SUM], value) if abs(cell[SUM]) >= abs(value) else (value, cell[SUM])
        a.minute_rest[station, place, sensor] += (large - total) + small
        cell[SUM] = total
        cell[LEAST], cell[MOST] = min(cell[LEAST], value), max(cell[MOST], value)
        cell[VALUES] += 1.0
    return True


@compiled()
def _close_minute(a: StationArrays, prior: PriorArrays, station: int, place: int, out: np.ndarray) -> None:
    """Write a minute's roll-up, (n_sensors, CLOSED_COLUMNS + BAND) float64, and forget the minute."""
    minute = a.minutes[station, place]
    for sensor in range(out.shape[0]):
        cell = a.minute_stats[station, place, sensor]
        values = max(cell[VALUES], 1.0)
        out[sensor, 0] = (np.float64(cell[SUM]) + np.float64(a.minute_rest[station, place, sensor])) / values
        out[sensor, 1], out[sensor, 2], out[sensor, 3] = cell[LEAST], cell[MOST], cell[VALUES]
        out[sensor, 4], out[sensor, 5], out[sensor, 6] = band(
            a.statistics.station[station], a.statistics.sensor[station, sensor], prior.sensor[sensor], prior.pool,
            prior.recipe, minute * MINUTE_MS,
        )  # fmt: skip
    a.minutes[station, place] = NO_MINUTE
    a.minute_readings[station, place] = 0


class Batch(NamedTuple):
    """Valid readings of one shard in Kafka order, and room for what the step says about them.

    station: (n,) int32 row in the arrays. event_ms, record_ms: (n,) int64. identity: (n,) uint64. content: (n,) uint32.
    values: (n, n_sensors) float32, NaN where missing.
    Written: outcome (n,) uint8; late, minute_closed (n,) bool; ordinal (n,) int64; rows (n, width) float32 blocks;
    closed_* one row per closed minute: station, minute and readings (m,) int64, stats (m, n_sensors, 7) float64.
    """

    station: np.ndarray
    event_ms: np.ndarray
    record_ms: np.ndarray
    identity: np.ndarray
    content: np.ndarray
    values: np.ndarray
    outcome: np.ndarray
    late: np.ndarray
    minute_closed: np.ndarray
    ordinal: np.ndarray
    rows: np.ndarray
    closed_keys: np.ndarray
    closed_stats: np.ndarray


@compiled()
def close_until(
    a: StationArrays, prior: PriorArrays, station: int, minute: int, keys: np.ndarray, stats: np.ndarray, closed: int
) -> int:
    """Close the station's minutes up to and with `minute`, oldest first; return how many are closed by then in all."""
    for _ in range(OPEN_MINUTES):
        oldest = -1
        for place in range(OPEN_MINUTES):
            held = a.minutes[station, place]
            if held != NO_MINUTE and held <= minute and (oldest < 0 or held < a.minutes[station, oldest]):
                oldest = place
        if oldest < 0:
            break
        keys[closed, 0] = station
        keys[closed, 1] = a.minutes[station, oldest]
        keys[closed, 2] = a.minute_readings[station, oldest]
        _close_minute(a, prior, station, oldest, stats[closed])
        closed += 1
    return closed


@compiled()
def step(a: StationArrays, prior: PriorArrays, batch: Batch, scratch: np.ndarray) -> int:
    """Take the readings of a batch in order; return the number of closed minutes.

    Source: docs/architecture.md, "The stream, step by step": forget after a week, duplicate or conflict, late or not,
    describe, then learn.
    """
    closed = 0
    statistics = a.statistics
    for n in range(len(batch.station)):
        station = batch.station[n]
        longs = a.longs[station]
        record_ms, event_ms = batch.record_ms[n], batch.event_ms[n]
        if longs[ORDINAL] == 0:
            _reset(a, station)
        elif record_ms - longs[RECORD] > FORGET_MS:
            closed = close_until(a, prior, station, 2**31 - 1, batch.closed_keys, batch.closed_stats, closed)
            _reset(a, station)
        outcome = _seen_before(a, station, batch.identity[n], batch.content[n])
        batch.outcome[n] = outcome
        if outcome != ACCEPTED:
            continue
        place = longs[ORDINAL] % RING
        a.identities[station, place], a.contents[station, place] = batch.identity[n], batch.content[n]
        first = longs[ORDINAL] == 0
        late = event_ms <= longs[CLOCK]
        clock = max(longs[CLOCK], min(event_ms, record_ms + AHEAD_MS))
        elapsed = 0.0 if first else (clock - longs[CLOCK]) / 1000.0
        values, row = batch.values[n], batch.rows[n]
        longs[ORDINAL] += 1
        longs[RECORD] = max(longs[RECORD], record_ms)
        row[0], row[1], row[2] = longs[ORDINAL], 1.0 if late else 0.0, elapsed
        cells, covariances = statistics.sensor[station], statistics.covariance[station]
        observe(statistics.station[station], cells, covariances, prior, values, event_ms, elapsed, late, scratch, row)
        batch.late[n], batch.ordinal[n] = late, longs[ORDINAL]
        longs[CLOCK] = clock
        minute = clock // MINUTE_MS
        closed = close_until(a, prior, station, minute - OPEN_MINUTES, batch.closed_keys, batch.closed_stats, closed)
        # A reading ahead of the station's clock counts in the clock's minute, which is sure to be open.
        own = min(event_ms, clock) // MINUTE_MS
        counted = own > minute - OPEN_MINUTES and _count_minute(a, station, own, values)
        batch.minute_closed[n] = not counted
    return closed
