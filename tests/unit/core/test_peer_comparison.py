"""One station or the whole hall, from closed minutes of a group."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.peer_comparison import GroupMinutes, PeerView, peer_view


def group(stations: int = 6, minutes: int = 15, seed: int = 1, **raised: float) -> GroupMinutes:
    """Stations of one sensor at different levels with bands of ± 3, noise 0.3; `s2=4` raises station 2 by 4."""
    rng = np.random.default_rng(seed)
    shape = (stations, minutes, 1)
    typical = np.broadcast_to(20.0 + 2.0 * np.arange(stations)[:, None, None], shape)
    mean = typical + rng.normal(0.0, 0.3, shape)
    for name, off in raised.items():
        mean[int(name[1:])] += off
    return GroupMinutes(mean, typical - 3.0, typical, typical + 3.0)


def view(minutes: GroupMinutes, station: int = 0) -> PeerView:
    return peer_view(minutes, station)[0]


def test_one_station_departs() -> None:
    """Breaks when calm peers are counted along."""
    seen = view(group(s0=4.0))
    assert (seen.verdict, seen.reported, seen.share) == ("one_station", 6, 0.0)
    assert seen.station == pytest.approx(4 / 3, abs=0.1) and abs(seen.peers) < 0.2


def test_the_whole_hall_departs() -> None:
    """Breaks when a common departure is put down to the station that was asked about."""
    seen = view(group(s0=-4.0, s1=-3.5, s2=-5.0, s3=-2.5, s4=-4.0, s5=0.0))
    assert seen.verdict == "whole_hall" and seen.share == pytest.approx(0.8)


def test_peers_the_other_way_are_not_along() -> None:
    """Breaks when only the size of a deviation counts."""
    seen = view(group(s0=4.0, s1=-4.0, s2=-4.0, s3=-4.0, s4=-4.0, s5=-4.0))
    assert (seen.verdict, seen.share) == ("one_station", 0.0)


def test_a_mad_peer_or_minute_decides_nothing() -> None:
    """Breaks when a mean is taken where a median is meant."""
    minutes = group(s0=4.0, s1=1e6)
    minutes.mean[2, 3] = 1e6
    minutes.mean[0, 5] = -1e6
    assert view(minutes).verdict == "one_station"


def test_lively_and_quiet_stations_compare_by_their_bands() -> None:
    """Breaks when deviations are compared in the sensor's unit."""
    minutes = group(s0=4.0, s1=2.5, s2=2.5, s3=2.5, s4=2.5, s5=2.5)
    assert view(minutes).verdict == "whole_hall"
    wide = minutes.typical + np.where(np.arange(6) > 0, 30.0, 3.0)[:, None, None]
    assert view(replace(minutes, upper=wide)).verdict == "one_station"


@pytest.mark.parametrize("reporting", [1, 2])
def test_fewer_than_three_stations_say_nothing(reporting: int) -> None:
    """Breaks when one peer is taken for the hall."""
    minutes = group(s0=4.0)
    minutes.mean[reporting:] = np.nan
    seen = view(minutes)
    assert seen.verdict == "unknown" and seen.reported == reporting and np.isnan(seen.share)


def test_silent_station_and_normal_station_are_unknown() -> None:
    """Breaks when nothing is known, or nothing wrong, and yet a verdict is given."""
    minutes = group()
    assert view(minutes).verdict == "unknown"
    minutes.mean[0] = np.nan
    seen = view(minutes)
    assert (seen.verdict, seen.reported) == ("unknown", 5) and np.isnan(seen.station)


def test_unknown_bands_are_left_out_and_each_sensor_judged_by_itself() -> None:
    """Breaks when a band that is not known yet, or of no width, counts as one."""
    first, second = group(s0=4.0), group(s0=4.0, s1=4.0, s2=4.0, s3=4.0, s4=4.0, s5=4.0)
    second.mean[5] = np.inf
    pairs = ((first.mean, second.mean), (first.lower, second.lower), (first.typical, second.typical))
    both = GroupMinutes(*(np.concatenate(pair, axis=2) for pair in (*pairs, (first.upper, second.upper))))
    both.upper[1, :, 1] = np.nan
    both.upper[2, :, 1] = both.typical[2, :, 1]
    one, hall = peer_view(both, 0)
    assert (one.verdict, hall.verdict, hall.reported) == ("one_station", "whole_hall", 4)


def test_wrong_shapes_and_rows_are_refused() -> None:
    """Breaks when a mistake of the caller gives a verdict."""
    minutes = group()
    with pytest.raises(ValueError, match="one shape"):
        peer_view(replace(minutes, lower=minutes.lower[:, :3]), 0)
    with pytest.raises(ValueError, match="the group has 6"):
        peer_view(minutes, 6)


@given(st.permutations(range(5)), st.floats(-8, 8))
@settings(max_examples=50, deadline=None)
def test_the_order_of_peers_means_nothing(order: list[int], off: float) -> None:
    """Breaks when a verdict depends on how stations are listed."""
    minutes = group(s0=off, s3=off)
    rows = [0, *(1 + row for row in order)]
    mixed = GroupMinutes(*(part[rows] for part in (minutes.mean, minutes.lower, minutes.typical, minutes.upper)))
    assert repr(view(mixed)) == repr(view(minutes))
