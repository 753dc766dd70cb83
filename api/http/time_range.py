"""The duration grammar of `time_range`: Prometheus durations, strictly."""

from __future__ import annotations

import re

UNITS_MS = {
    "y": 365 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1000,
    "ms": 1,
}
"""Milliseconds of each unit, longest first: the order in which a duration may name them."""

LONGEST_MS = 90 * 86_400_000
EXPECTED = (
    "a duration such as 5m, 4h, 1h30m or 30d: longest unit first (y w d h m s ms), each once, above 0 and at most 90d"
)

# Twelve digits hold 90 days in any unit with room to spare; more would only make Python parse huge integers.
_GRAMMAR = re.compile("".join(f"(?:([0-9]{{1,12}}){unit})?" for unit in UNITS_MS), re.ASCII)


class BadDuration(ValueError):
    """The text is no duration of the grammar, or one out of bounds."""


def parse_duration(text: str) -> int:
    """Read a duration.

    Args:
        text: such as `1h30m`; ASCII digits only, no sign, no fraction, no blanks.

    Returns:
        Milliseconds, in 1…90 days.

    Raises:
        BadDuration: anything else; the message says what is expected.
    """
    match = _GRAMMAR.fullmatch(text)
    if match is None or not text:
        raise BadDuration(f"expected {EXPECTED}")
    total = sum(int(number) * unit for number, unit in zip(match.groups(default="0"), UNITS_MS.values(), strict=True))
    if not 0 < total <= LONGEST_MS:
        raise BadDuration(f"expected {EXPECTED}")
    return total
