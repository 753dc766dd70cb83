"""The labelled bad values against the oracle and against the product."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import InvalidReading
from core.reading import Validator
from core.sensors import DEFAULT_SENSORS
from tests.oracle.bad_records import KINDS, RARE, Bad, bad_record, draw_kinds, good_fields
from tests.oracle.validator import Dead, Parsed, validate

NOW_MS = 1_795_262_400_000
VALUES = {"temperature": 21.4, "humidity": 48.2, "noise": 61.0}


def spoilt(kind: str) -> Bad:
    """One bad value of a kind."""
    return bad_record(kind, good_fields("station-0001", NOW_MS, 7, VALUES), np.random.default_rng(1))


@pytest.mark.parametrize("kind", KINDS)
def test_oracle_refuses_it_for_the_labelled_reason(kind: str) -> None:
    """Breaks when the generator spoils a value in another way than its label says."""
    bad = spoilt(kind)
    assert validate(bad.key, bad.value, NOW_MS, DEFAULT_SENSORS) == Dead(bad.reasons)


@pytest.mark.parametrize("kind", list(KINDS))
def test_product_refuses_it_for_a_labelled_reason(kind: str) -> None:
    """Breaks when the product takes a bad value, or explains it wrongly."""
    bad = spoilt(kind)
    with pytest.raises(InvalidReading) as refused:
        Validator(DEFAULT_SENSORS).validate(bad.key, bad.value, NOW_MS)
    assert refused.value.reason in bad.reasons


def test_unspoilt_is_a_reading() -> None:
    """Breaks when the generator's base is bad itself, so that every kind would be refused for nothing."""
    import json

    value = json.dumps(good_fields("station-0001", NOW_MS, 7, VALUES)).encode()
    found = validate(b"station-0001", value, NOW_MS, DEFAULT_SENSORS)
    assert found == Parsed("station-0001", NOW_MS, 7, (21.4, 48.2, 61.0))


def test_every_kind_is_drawn_and_large_ones_once() -> None:
    """Breaks when a long run leaves a kind out, or floods the broker with large values."""
    kinds = draw_kinds(np.random.default_rng(3), 1000)
    assert len(kinds) == 1000
    assert set(kinds) == set(KINDS)
    assert all(kinds.count(kind) == 1 for kind in RARE)
