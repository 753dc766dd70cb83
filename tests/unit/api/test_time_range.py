"""The grammar of `time_range`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http.query import LONGEST_MS, UNITS_MS, BadDuration, parse_duration

NAMES = list(UNITS_MS)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("5m", 300_000),
        ("4h", 14_400_000),
        ("1h30m", 5_400_000),
        ("30d", 30 * 86_400_000),
        ("90d", LONGEST_MS),
        ("1w2d", 9 * 86_400_000),
        ("1ms", 1),
        ("1m1ms", 60_001),
        ("0d5m", 300_000),
        ("007m", 420_000),
    ],
)
def test_durations_mean_what_prometheus_says(text: str, milliseconds: int) -> None:
    """Breaks when a unit has another length, or `m` and `ms` are confused."""
    assert parse_duration(text) == milliseconds


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "abc",
            "5",
            "-5m",
            "+5m",
            "1.5h",
            "30m1h",
            "999999999999d",
            "١٢h",
            "0",
            "0m",
            "0h0m",
            "90d1ms",
            "91d",
            "1y",
        ),
        *(
            "5M",
            "5 m",
            " 5m",
            "5m ",
            "5m\n",
            "1h1h",
            "1e3s",
            "0x5m",
            "m",
            "1h-5m",
            "5µs",
            "5m\x00",
            "²h",
            "1_0m",
            "9" * 5000 + "d",
        ),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """Breaks when the grammar takes what it should not: wrong order, other digits, signs, fractions, too much."""
    with pytest.raises(BadDuration, match="expected a duration"):
        parse_duration(text)


@given(st.lists(st.integers(0, 5000), min_size=len(NAMES), max_size=len(NAMES)))
def test_a_written_duration_is_read_back_as_its_sum(numbers: list[int]) -> None:
    """Breaks when a unit in its place is dropped, counted twice, or the bounds are off."""
    text = "".join(f"{number}{name}" for number, name in zip(numbers, NAMES, strict=True) if number)
    total = sum(number * UNITS_MS[name] for number, name in zip(numbers, NAMES, strict=True))
    if 0 < total <= LONGEST_MS:
        assert parse_duration(text) == total
    else:
        with pytest.raises(BadDuration):
            parse_duration(text)


@given(st.lists(st.tuples(st.integers(1, 9), st.sampled_from(NAMES)), min_size=2, max_size=4))
def test_units_out_of_order_or_doubled_are_refused(parts: list[tuple[int, str]]) -> None:
    """Breaks when the longest unit need not come first, or one may come twice."""
    places = [NAMES.index(name) for _, name in parts]
    text = "".join(f"{number}{name}" for number, name in parts)
    if places == sorted(set(places)):
        return
    with pytest.raises(BadDuration):
        parse_duration(text)


@given(st.text(max_size=30))
def test_no_text_is_read_as_something_out_of_bounds(text: str) -> None:
    """Breaks when some text raises another error than BadDuration, or yields a duration out of bounds."""
    try:
        milliseconds = parse_duration(text)
    except BadDuration:
        return
    assert 0 < milliseconds <= LONGEST_MS
    assert text.isascii()
