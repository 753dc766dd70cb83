"""The compiled state step: one pass over readings in Kafka order, moving packed station statistics.

Everything the compiled functions know about columns is written in this file, because the cache of compiled code follows
the file a function stands in. `block.py` names the columns of a block, `state.py` packs and grows the arrays.

Time is counted in the station's own cadence: an average with time constant t moves by 1 - exp(-elapsed / cadence / t),
and at least by 1/(n + 1) while it is young. A statistic moves by at most `MAX_STEP` spreads per reading, so that a
fault is not learnt at once; what a model says never reaches it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from models.detection.jit import compiled

# --- columns of the state -------------------------------------------------------------------------------------------
RING = 32  # identities held per station
OPEN_MINUTES = 3
CLOCK, RECORD, ORDINAL, FLUSHED = 0, 1, 2, 3
N_LONGS = 4
COUNT, FAST, REFERENCE, SPREAD, INNOVATION_SPREAD, DIFF_SPREAD, ACTIVITY, LAST, RUN, LONGEST_RUN, MISSING_RUN = range(
    11
)
N_STATS = 11
SUM, LEAST, MOST, VALUES = 0, 1, 2, 3
N_MINUTE = 4
NO_MINUTE = -1


class StationArrays(NamedTuple):
    """The state of the stations of a shard, one row each.

    longs: (n, N_LONGS) int64: clock, last record time (ms), accepted readings, record time of the last station row.
    identities: (n, RING) uint64 hashes of (event_time, seq). contents: (n, RING) uint32 hashes of the values.
    cadence: (n,) float32, mean interval in s. stats: (n, n_sensors, N_STATS) float32.
    minutes: (n, OPEN_MINUTES) int32 minute of the epoch or NO_MINUTE. minute_readings: (n, OPEN_MINUTES) int32.
    minute_stats: (n, OPEN_MINUTES, n_sensors, N_MINUTE) float32, the sum relative to the minute's first value, in
    minute_first: (n, OPEN_MINUTES, n_sensors) float32.
    """

    longs: np.ndarray
    identities: np.ndarray
    contents: np.ndarray
    cadence: np.ndarray
    stats: np.ndarray
    minutes: np.ndarray
    minute_readings: np.ndarray
    minute_stats: np.ndarray
    minute_first: np.ndarray


class PriorArrays(NamedTuple):
    """A `Prior` for the compiled code, and the plausible ranges of the catalogue."""

    cadence: float
    spread: np.ndarray
    innovation_spread: np.ndarray
    diff_spread: np.ndarray
    floor: np.ndarray
    run_limit: np.ndarray
    limits: np.ndarray
    plausible: np.ndarray


# --- columns of the block -------------------------------------------------------------------------------------------
COMMON = ("ordinal", "late", "elapsed")
PER_SENSOR = (
    "value", "quality", "weight", "typical", "spread", "fast", "innovation_spread", "diff", "diff_spread", "activity",
    "lower", "upper", "run", "run_limit", "missing_run",
)  # fmt: skip
WITNESSES = ("innovation", "level")
PER_WITNESS = ("u", "limit", "h")
N_COMMON = 3
N_PER_SENSOR = 15
SENSOR_WIDTH = 21
PRESENT, MISSING, IMPLAUSIBLE = 0.0, 1.0, 2.0

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
FAST_TAU, ACTIVITY_TAU = 5.0, 12.0
LONG_TAU = 2880.0  # readings the long reference remembers
SPREAD_TAU = 6000.0
MAX_STEP = 3.0  # spreads by which a reading may move a statistic
ABS_TO_SIGMA = 1.2533141  # sqrt(pi/2): mean absolute deviation of a Gaussian to its standard deviation
YOUNG = 30.0  # readings after which a station's own spread counts as much as the prior's
WIDEN = 8.0  # limits are widened by 1 + WIDEN / (n + 1)
MAX_DC = 50.0


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
    a.cadence[station] = 0.0
    a.stats[station, :, :] = 0.0
    a.minutes[station, :] = NO_MINUTE
    a.minute_readings[station, :] = 0
    a.minute_stats[station, :, :, :] = 0.0
    a.minute_first[station, :, :] = 0.0


@compiled()
def _seen_before(a: StationArrays, station: int, identity: np.uint64, content: np.uint32) -> int:
    """Look the identity up among those held: ACCEPTED (unknown), DUPLICATE, or CONFLICT."""
    for place in range(min(a.longs[station, ORDINAL], RING)):
        if a.identities[station, place] == identity:
            return DUPLICATE if a.contents[station, place] == content else CONFLICT
    return ACCEPTED


@compiled()
def _describe(a: StationArrays, prior: PriorArrays, station: int, values: np.ndarray, row: np.ndarray) -> None:
    """Write what is known of each sensor before this reading, and the reading beside it."""
    for sensor in range(len(values)):
        stats = a.stats[station, sensor]
        cell = row[N_COMMON + sensor * SENSOR_WIDTH : N_COMMON + (sensor + 1) * SENSOR_WIDTH]
        value = values[sensor]
        n = stats[COUNT]
        weight = n / (n + YOUNG)
        floor = prior.floor[sensor]
        spread = max(floor, math.sqrt(weight * stats[SPREAD] ** 2 + (1 - weight) * prior.spread[sensor] ** 2))
        fast_spread = max(
            floor,
            math.sqrt(weight * stats[INNOVATION_SPREAD] ** 2 + (1 - weight) * prior.innovation_spread[sensor] ** 2),
        )
        diff_spread = max(
            floor, math.sqrt(weight * stats[DIFF_SPREAD] ** 2 + (1 - weight) * prior.diff_spread[sensor] ** 2)
        )
        missing = math.isnan(value)
        known = n > 0
        typical = stats[REFERENCE] if known else (0.0 if missing else value)
        fast = stats[FAST] if known else typical
        widened = 1.0 + WIDEN / (n + 1.0)
        limit_fast = prior.limits[sensor, 0] * widened
        limit_level = prior.limits[sensor, 1] * widened
        cell[0] = math.nan if missing else value
        cell[1] = MISSING if missing else PRESENT
        if not missing and not (prior.plausible[sensor, 0] <= value <= prior.plausible[sensor, 1]):
            cell[1] = IMPLAUSIBLE
        cell[2] = weight
        cell[3] = typical
        cell[4] = spread
        cell[5] = fast
        cell[6] = fast_spread
        # A missing value says nothing: only its rule counts it.
        cell[7] = 0.0 if missing else value - (stats[LAST] if known else value)
        cell[8] = diff_spread
        cell[9] = stats[ACTIVITY] if known else diff_spread
        band = limit_level * spread
        cell[10] = typical - band
        cell[11] = typical + band
        same = known and not missing and value == stats[LAST]
        cell[12] = stats[RUN] + 1.0 if same else (0.0 if missing else 1.0)
        cell[13] = max(prior.run_limit[sensor], 1.5 * stats[LONGEST_RUN])
        cell[14] = stats[MISSING_RUN] + 1.0 if missing else 0.0
        cell[15] = 0.0 if missing else (value - fast) / fast_spread
        cell[16] = limit_fast
        cell[17] = 1.0
        cell[18] = 0.0 if missing else (value - typical) / spread
        cell[19] = limit_level
        cell[20] = 1.0


@compiled()
def _learn(a: StationArrays, station: int, values: np.ndarray, row: np.ndarray, dc: float) -> None:
    """Move the statistics of a station by a reading that is not late; `row` is its block."""
    for sensor in range(len(values)):
        stats = a.stats[station, sensor]
        cell = row[N_COMMON + sensor * SENSOR_WIDTH : N_COMMON + (sensor + 1) * SENSOR_WIDTH]
        value = values[sensor]
        if math.isnan(value):
            stats[MISSING_RUN] += 1.0
            continue
        stats[MISSING_RUN] = 0.0
        n = stats[COUNT]
        if n == 0:
            stats[FAST], stats[REFERENCE], stats[LAST] = value, value, value
            stats[SPREAD], stats[INNOVATION_SPREAD], stats[DIFF_SPREAD] = 0.0, 0.0, 0.0
            stats[ACTIVITY] = cell[8]
            stats[COUNT], stats[RUN] = 1.0, 1.0
            continue
        young = 1.0 / (n + 1.0)
        spread, fast_spread, diff_spread = cell[4], cell[6], cell[8]
        residual = value - stats[FAST]
        level = value - stats[REFERENCE]
        diff = abs(value - stats[LAST])
        stats[FAST] += max(1.0 - math.exp(-dc / FAST_TAU), young) * max(-6.0 * spread, min(6.0 * spread, residual))
        step = max(min(1.0, dc) / LONG_TAU, young)
        stats[REFERENCE] += step * max(-MAX_STEP * spread, min(MAX_STEP * spread, level))
        slow = max(min(1.0, dc) / SPREAD_TAU, young)
        stats[SPREAD] += slow * (ABS_TO_SIGMA * min(abs(level), MAX_STEP * spread) - stats[SPREAD])
        stats[INNOVATION_SPREAD] += slow * (
            ABS_TO_SIGMA * min(abs(residual), MAX_STEP * fast_spread) - stats[INNOVATION_SPREAD]
        )
        stats[DIFF_SPREAD] += slow * (ABS_TO_SIGMA * min(diff, MAX_STEP * diff_spread) - stats[DIFF_SPREAD])
        quick = max(1.0 - math.exp(-dc / ACTIVITY_TAU), young)
        stats[ACTIVITY] += quick * (ABS_TO_SIGMA * min(diff, 6.0 * diff_spread) - stats[ACTIVITY])
        if value == stats[LAST]:
            stats[RUN] += 1.0
        else:
            # A run beyond its limit is a stuck sensor, and teaches no more than the limit.
            stats[LONGEST_RUN] = max(stats[LONGEST_RUN], min(stats[RUN], cell[13]))
            stats[RUN] = 1.0
        stats[LAST] = value
        stats[COUNT] = min(n + 1.0, 1e6)


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
    a.minute_readings[station, place] += 1
    for sensor in range(len(values)):
        value = values[sensor]
        if math.isnan(value):
            continue
        cell = a.minute_stats[station, place, sensor]
        if cell[VALUES] == 0:
            a.minute_first[station, place, sensor] = value
            cell[LEAST], cell[MOST] = value, value
        cell[SUM] += value - a.minute_first[station, place, sensor]
        cell[LEAST], cell[MOST] = min(cell[LEAST], value), max(cell[MOST], value)
        cell[VALUES] += 1.0
    return True


@compiled()
def _close_minute(a: StationArrays, prior: PriorArrays, station: int, place: int, out: np.ndarray) -> None:
    """Write a minute's roll-up, (n_sensors, CLOSED_COLUMNS + BAND) float64, and forget the minute."""
    for sensor in range(out.shape[0]):
        cell = a.minute_stats[station, place, sensor]
        stats = a.stats[station, sensor]
        values = max(cell[VALUES], 1.0)
        out[sensor, 0] = a.minute_first[station, place, sensor] + cell[SUM] / values
        out[sensor, 1], out[sensor, 2], out[sensor, 3] = cell[LEAST], cell[MOST], cell[VALUES]
        weight = stats[COUNT] / (stats[COUNT] + YOUNG)
        own = math.sqrt(weight * stats[SPREAD] ** 2 + (1 - weight) * prior.spread[sensor] ** 2)
        band = prior.limits[sensor, 1] * (1.0 + WIDEN / (stats[COUNT] + 1.0)) * max(prior.floor[sensor], own)
        out[sensor, 4] = stats[REFERENCE] - band
        out[sensor, 5] = stats[REFERENCE]
        out[sensor, 6] = stats[REFERENCE] + band
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
def step(a: StationArrays, prior: PriorArrays, batch: Batch) -> int:
    """Take the readings of a batch in order; return the number of closed minutes.

    Source: the order of events is design section 2.3: forget after a week, duplicate or conflict, late or not,
    describe, then learn.
    """
    closed = 0
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
        cadence = max(a.cadence[station], 1e-3) if a.cadence[station] > 0 else prior.cadence
        values, row = batch.values[n], batch.rows[n]
        longs[ORDINAL] += 1
        longs[RECORD] = max(longs[RECORD], record_ms)
        row[0], row[1], row[2] = longs[ORDINAL], 1.0 if late else 0.0, elapsed
        _describe(a, prior, station, values, row)
        batch.late[n], batch.ordinal[n] = late, longs[ORDINAL]
        longs[CLOCK] = clock
        minute = clock // MINUTE_MS
        closed = close_until(a, prior, station, minute - OPEN_MINUTES, batch.closed_keys, batch.closed_stats, closed)
        # A reading ahead of the station's clock counts in the clock's minute, which is sure to be open.
        own = min(event_ms, clock) // MINUTE_MS
        counted = own > minute - OPEN_MINUTES and _count_minute(a, station, own, values)
        batch.minute_closed[n] = not counted
        if late:
            continue
        if elapsed > 0:
            rate = max(0.01, 1.0 / longs[ORDINAL])
            known = a.cadence[station]
            a.cadence[station] += rate * (min(elapsed, MAX_DC * cadence) - known) if known > 0 else elapsed
        _learn(a, station, values, row, min(elapsed / cadence, MAX_DC))
    return closed
