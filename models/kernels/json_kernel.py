"""The compiled scanner of the usual record: one flat JSON object with a reading's fields.

It says yes or nothing. What it says yes to is a reading as `reading.Validator` understands it, but for the limits on
values and times, which its caller holds against them. Everything unusual is left alone: escapes, other characters than
ASCII, nesting, a reading's field twice, times of another form than 2026-11-21T10:15:04.250Z, a `seq` of more than
18 characters.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models.kernels.jit import compiled

# The fields before the sensors, in this order.
FIELDS = ("schema_version", "station_id", "event_time", "seq")
_VERSION, _STATION, _TIME, _SEQ = range(4)
_LONGEST_ID = 64
_TIME_LENGTH = 24
_DAY_MS = 86_400_000
_DOUBT = -1
_NO_TIME = -(2**63)
# A whole number of fewer digits fits an int64.
_MOST_DIGITS = 18
# Below it every whole number is a float64, and so is each of these powers: the quotient of two such is rounded once,
# as reading the decimal would be (Clinger 1990, "How to read floating point numbers accurately").
_EXACT = 2**53
_POWERS = np.array([10.0**power for power in range(23)])

_QUOTE, _COMMA, _COLON, _OPEN, _CLOSE, _BACKSLASH = (ord(mark) for mark in '",:{}\\')
_PLUS, _MINUS, _POINT, _ZERO, _NINE, _SMALL_E, _LARGE_E, _UNDERSCORE = (ord(mark) for mark in "+-.09eE_")
_TRUE, _FALSE, _NULL = (np.frombuffer(word, np.uint8) for word in (b"true", b"false", b"null"))
_TIME_FORM = np.frombuffer(b"0000-00-00T00:00:00.000Z", np.uint8)


class Texts(NamedTuple):
    """Byte strings side by side. data: (bytes,) uint8. ends: (n + 1,) int64, where each begins, and the last ends."""

    data: np.ndarray
    ends: np.ndarray


class Fields(NamedTuple):
    """The fields of a reading: `FIELDS`, then the sensors.

    names: of them. required: (fields,) bool, which must be there. seen: (fields,) int64, the last record that had it.
    """

    names: Texts
    required: np.ndarray
    seen: np.ndarray


class Scanned(NamedTuple):
    """What the scanner found, and room for it.

    sure: (n,) bool, whether the record is of the usual form; the rest means nothing where it is not.
    event_ms, seq: (n,) int64. values: (n, n_sensors) float64, NaN where missing.
    decimals: (n * n_sensors, 4) int64: record, sensor, start and end of numbers that are still to be read.
    """

    sure: np.ndarray
    event_ms: np.ndarray
    seq: np.ndarray
    values: np.ndarray
    decimals: np.ndarray


@compiled()
def _blank_end(data: np.ndarray, at: int, end: int) -> int:
    while at < end and (data[at] == 32 or data[at] == 10 or data[at] == 13 or data[at] == 9):
        at += 1
    return at


@compiled()
def _string_end(data: np.ndarray, at: int, end: int) -> int:
    """Where the string that begins behind a quote at `at` - 1 has its closing quote."""
    while at < end:
        character = data[at]
        if character == _QUOTE:
            return at
        if character == _BACKSLASH or character < 32 or character > 126:
            return _DOUBT
        at += 1
    return _DOUBT


@compiled()
def _digits_end(data: np.ndarray, at: int, end: int) -> int:
    while at < end and _ZERO <= data[at] <= _NINE:
        at += 1
    return at


@compiled()
def _whole_end(data: np.ndarray, at: int, end: int) -> int:
    """Where the whole number at `at` ends; a leading zero stands alone."""
    start = at + 1 if at < end and data[at] == _MINUS else at
    stop = _digits_end(data, start, end)
    return _DOUBT if stop == start or (stop > start + 1 and data[start] == _ZERO) else stop


@compiled()
def _number_end(data: np.ndarray, at: int, end: int) -> int:
    """Where the JSON number at `at` ends."""
    at = _whole_end(data, at, end)
    if at != _DOUBT and at < end and data[at] == _POINT:
        start = at + 1
        at = _digits_end(data, start, end)
        if at == start:
            return _DOUBT
    if at != _DOUBT and at < end and (data[at] == _SMALL_E or data[at] == _LARGE_E):
        start = at + 1
        if start < end and (data[start] == _MINUS or data[start] == _PLUS):
            start += 1
        at = _digits_end(data, start, end)
        if at == start:
            return _DOUBT
    return at


@compiled()
def _whole(data: np.ndarray, start: int, stop: int) -> int:
    """Read the digits of a number, leaving out its sign and its point."""
    found = 0
    for at in range(start, stop):
        if _ZERO <= data[at] <= _NINE:
            found = found * 10 + int(np.int64(data[at])) - _ZERO
    return found


@compiled()
def _plain_decimal(data: np.ndarray, start: int, stop: int) -> tuple[float, bool]:
    """Read a number where one division does it exactly."""
    point, digits = stop - 1, 0
    for at in range(start, stop):
        if data[at] == _POINT:
            point = at
        elif data[at] == _SMALL_E or data[at] == _LARGE_E:
            return 0.0, False
        elif data[at] != _MINUS:
            digits += 1
    if digits > _MOST_DIGITS:
        return 0.0, False
    found = _whole(data, start, stop)
    if found > _EXACT:
        return 0.0, False
    value = found / _POWERS[stop - 1 - point]
    return (-value if data[start] == _MINUS else value), True


@compiled()
def _equal(data: np.ndarray, start: int, words: np.ndarray, begin: int, end: int) -> bool:
    """Whether the text at `start`, which is long enough, equals a part of others. A slice would cost more."""
    for place in range(end - begin):  # noqa: SIM110 - numba knows no generators
        if data[start + place] != words[begin + place]:
            return False
    return True


@compiled()
def _literal_end(data: np.ndarray, at: int, end: int, word: np.ndarray) -> int:
    stop = at + len(word)
    return stop if stop <= end and _equal(data, at, word, 0, len(word)) else _DOUBT


@compiled()
def _any_end(data: np.ndarray, at: int, end: int) -> int:
    """Where a value that no field names ends: a string, a number, true, false or null."""
    if at >= end:
        return _DOUBT
    if data[at] == _QUOTE:
        at = _string_end(data, at + 1, end)
        return _DOUBT if at == _DOUBT else at + 1
    for word in (_TRUE, _FALSE, _NULL):
        if data[at] == word[0]:
            return _literal_end(data, at, end, word)
    return _number_end(data, at, end)


@compiled()
def _event_ms(data: np.ndarray, at: int, end: int) -> int:
    """Read the quoted time at `at`, ms since the epoch; `_NO_TIME` where it is none of the usual form."""
    if at + _TIME_LENGTH + 2 > end or data[at] != _QUOTE or data[at + 1 + _TIME_LENGTH] != _QUOTE:
        return _NO_TIME
    at += 1
    for place in range(_TIME_LENGTH):
        digit = _ZERO <= data[at + place] <= _NINE
        if _TIME_FORM[place] == _ZERO:
            if not digit:
                return _NO_TIME
        elif data[at + place] != _TIME_FORM[place]:
            return _NO_TIME
    year, month, day = _whole(data, at, at + 4), _whole(data, at + 5, at + 7), _whole(data, at + 8, at + 10)
    hour, minute = _whole(data, at + 11, at + 13), _whole(data, at + 14, at + 16)
    second = _whole(data, at + 17, at + 19)
    if year < 1 or month < 1 or month > 12 or hour > 23 or minute > 59 or second > 59:
        return _NO_TIME
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    longest = (29 if leap else 28) if month == 2 else (30 if month in (4, 6, 9, 11) else 31)
    if day < 1 or day > longest:
        return _NO_TIME
    seconds = (hour * 60 + minute) * 60 + second
    return _days(year, month, day) * _DAY_MS + seconds * 1000 + _whole(data, at + 20, at + 23)


@compiled()
def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01, years counted from March on. Source: Hinnant, chrono-compatible date algorithms."""
    if month <= 2:
        year -= 1
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return 365 * year + year // 4 - year // 100 + year // 400 + day_of_year - 719_468


@compiled()
def _id_end(data: np.ndarray, at: int, end: int, keys: np.ndarray, key_start: int, key_stop: int) -> int:
    """Where the station id at `at` ends, which must be the record's key."""
    length = key_stop - key_start
    if not 0 < length <= _LONGEST_ID or at + length >= end or data[at + length] != _QUOTE:
        return _DOUBT
    for place in range(length):
        character = data[at + place]
        if character != keys[key_start + place]:
            return _DOUBT
        letter = 65 <= character <= 90 or 97 <= character <= 122
        if not (letter or _ZERO <= character <= _NINE or character in (_MINUS, _UNDERSCORE)):
            return _DOUBT
    return at + length


@compiled()
def _field_of(data: np.ndarray, at: int, end: int, names: Texts, expected: int) -> tuple[int, int]:
    """Which field is called so, most often the one behind the last, their number when none; and where its name ends."""
    n = len(names.ends) - 1
    for tried in range(n):
        field = (expected + tried) % n
        begin, length = names.ends[field], names.ends[field + 1] - names.ends[field]
        fits = at + length < end and data[at + length] == _QUOTE
        if fits and _equal(data, at, names.data, begin, begin + length):
            return field, at + length
    return n, _string_end(data, at, end)


@compiled(inline="always")
def _value_end(
    data: np.ndarray, at: int, end: int, keys: Texts, record: int, field: int, found: Scanned, counts: np.ndarray
) -> int:
    """Read the value of a field, and return where it ends."""
    if field == _STATION:
        if at >= end or data[at] != _QUOTE:
            return _DOUBT
        stop = _id_end(data, at + 1, end, keys.data, keys.ends[record], keys.ends[record + 1])
        return _DOUBT if stop == _DOUBT else stop + 1
    if field == _TIME:
        found.event_ms[record] = _event_ms(data, at, end)
        return _DOUBT if found.event_ms[record] == _NO_TIME else at + _TIME_LENGTH + 2
    if field in (_VERSION, _SEQ):
        stop = _whole_end(data, at, end)
        if stop == _DOUBT or stop - at > _MOST_DIGITS:
            return _DOUBT
        number = _whole(data, at, stop)
        number = -number if data[at] == _MINUS else number
        if field == _SEQ:
            found.seq[record] = number
        return stop if field == _SEQ or number == 1 else _DOUBT
    sensor = field - len(FIELDS)
    if at < end and data[at] == _NULL[0]:
        return _literal_end(data, at, end, _NULL)
    stop = _number_end(data, at, end)
    if stop == _DOUBT:
        return _DOUBT
    value, plain = _plain_decimal(data, at, stop)
    # Adding 0.0 turns -0.0 into 0.0, so that equal values have equal bytes.
    found.values[record, sensor] = value + 0.0
    if not plain:
        row = counts[0]
        found.decimals[row, 0], found.decimals[row, 1] = record, sensor
        found.decimals[row, 2], found.decimals[row, 3] = at, stop
        counts[0] = row + 1
    return stop


@compiled(inline="always")
def _is_usual(values: Texts, keys: Texts, record: int, fields: Fields, found: Scanned, counts: np.ndarray) -> bool:
    """Read one record; return whether all of it is of the usual form."""
    data, end = values.data, values.ends[record + 1]
    at = _blank_end(data, values.ends[record], end)
    if at == end or data[at] != _OPEN:
        return False
    n, field = len(fields.required), -1
    while True:
        at = _blank_end(data, at + 1, end)
        if at >= end or data[at] != _QUOTE:
            return False
        named, stop = _field_of(data, at + 1, end, fields.names, field + 1)
        if stop == _DOUBT:
            return False
        at = _blank_end(data, stop + 1, end)
        if at >= end or data[at] != _COLON:
            return False
        at = _blank_end(data, at + 1, end)
        if named == n:
            at = _any_end(data, at, end)
        else:
            field = named
            if fields.seen[field] == record:
                return False
            fields.seen[field] = record
            at = _value_end(data, at, end, keys, record, field, found, counts)
        if at == _DOUBT:
            return False
        at = _blank_end(data, at, end)
        if at >= end:
            return False
        if data[at] == _CLOSE:
            break
        if data[at] != _COMMA:
            return False
    for field in range(n):
        if fields.required[field] and fields.seen[field] != record:
            return False
    return _blank_end(data, at + 1, end) == end


@compiled()
def scan(values: Texts, keys: Texts, fields: Fields, found: Scanned, counts: np.ndarray) -> None:
    """Read records of the usual form.

    Args:
        values: of n records.
        keys: of the same records.
        fields: of a reading.
        found: `values` full of NaN; filled.
        counts: (1,) int64, how many rows of `found.decimals` are used; 0, filled.
    """
    for record in range(len(values.ends) - 1):
        before = counts[0]
        found.sure[record] = _is_usual(values, keys, record, fields, found, counts)
        if not found.sure[record]:
            counts[0] = before
