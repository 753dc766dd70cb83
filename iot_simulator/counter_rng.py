"""Random numbers by counter: a draw is a pure function of seed, purpose, station and counter.

So a station is the same in every replica, a process that restarts goes on where it was, and any stretch of time can be
made without making what lies before it. The mixer is splitmix64 (Steele, Lea, Flood 2014), applied part by part.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

Bits = NDArray[np.uint64]
Floats = NDArray[np.floating]

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_DELTA = np.uint64(0xD1B54A32D192ED03)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_LOW = np.uint64(0xFFFFFFFF)


def purpose_key(seed: int, *purpose: str) -> np.uint64:
    """Return the key of one purpose of a seed; two purposes share no draws."""
    text = "\0".join((str(seed), *purpose)).encode()
    return np.uint64(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little"))


def bits(key: np.uint64 | Bits, station: ArrayLike, counter: ArrayLike) -> Bits:
    """Return 64 random bits for each (key, station, counter), which broadcast against each other."""
    stations, counters = np.asarray(station, dtype=np.uint64), np.asarray(counter, dtype=np.uint64)
    with np.errstate(over="ignore"):
        return _mix(_mix(key + stations * _GAMMA) + counters * _DELTA)


def uniforms(random_bits: Bits) -> Floats:
    """Turn bits into numbers in [0, 1)."""
    return (random_bits >> np.uint64(11)) * 2.0**-53


def normals(random_bits: Bits) -> Floats:
    """Turn bits into standard normal numbers (Box and Muller 1958)."""
    first, second = _pair(random_bits)
    return np.sqrt(-2.0 * np.log(first)) * np.cos(2.0 * np.pi * second)


def student(random_bits: Bits, freedom: float) -> Floats:
    """Turn bits into t-distributed numbers of variance 1 (Bailey 1994); `freedom` > 2."""
    first, second = _pair(random_bits)
    radius = np.sqrt(freedom * (first ** (-2.0 / freedom) - 1.0))
    return radius * np.cos(2.0 * np.pi * second) * np.sqrt((freedom - 2.0) / freedom)


def _pair(random_bits: Bits) -> tuple[Floats, Floats]:
    """Two uniform numbers from one draw, the first in (0, 1]."""
    return ((random_bits >> np.uint64(32)) + 1.0) * 2.0**-32, (random_bits & _LOW) * 2.0**-32


def _mix(value: Bits) -> Bits:
    with np.errstate(over="ignore"):
        value = (value ^ (value >> np.uint64(30))) * _MIX_1
        value = (value ^ (value >> np.uint64(27))) * _MIX_2
    return value ^ (value >> np.uint64(31))
