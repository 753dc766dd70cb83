"""The prior: what is expected of a station before it has shown anything itself.

Pooled over the training stations, immutable, and data of the stream: a replay from the first offset uses the same
prior and so rebuilds the same state. See `stream_identity`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields

import msgspec
import numpy as np

from models.detection.errors import ArtefactRefused
from models.detection.kernel import WITNESSES

_FORMAT = "stationwatch-prior-1"


@dataclass(frozen=True)
class Prior:
    """Expectations per sensor, float64 arrays of shape (n_sensors,) in the sensors' units unless said otherwise.

    Args:
        sensors: names, in catalogue order.
        cadence: median interval between readings, s.
        spread: spread of values around a station's own long reference.
        innovation_spread: spread around the short average.
        diff_spread: spread of differences between successive values.
        floor: least spread that is ever divided by.
        run_limit: readings; a longer run of equal values is a stuck sensor. Infinite switches the rule off.
        limits: (n_sensors, n_witnesses), in spreads: where each witness is at its own limit.
    """

    sensors: tuple[str, ...]
    cadence: float
    spread: np.ndarray
    innovation_spread: np.ndarray
    diff_spread: np.ndarray
    floor: np.ndarray
    run_limit: np.ndarray
    limits: np.ndarray

    def to_bytes(self) -> bytes:
        """Return the prior as canonical JSON."""
        plain = {field.name: _plain(getattr(self, field.name)) for field in fields(self)}
        return msgspec.json.encode({"format": _FORMAT, **plain}, order="sorted")

    @classmethod
    def from_bytes(cls, data: bytes) -> Prior:
        """Read a prior back.

        Raises:
            ArtefactRefused: not a prior of this release, or shapes that do not fit.
        """
        try:
            document = msgspec.json.decode(data, type=dict)
            if document.pop("format") != _FORMAT:
                raise ArtefactRefused(f"the prior's format is not {_FORMAT}")
            names = tuple(document.pop("sensors"))
            cadence = float(document.pop("cadence"))
            arrays = {name: _array(values) for name, values in document.items()}
            prior = cls(sensors=names, cadence=cadence, **arrays)
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
            raise ArtefactRefused(f"the prior cannot be read: {error}") from error
        prior._check()
        return prior

    @property
    def sha256(self) -> str:
        """Identity of this prior."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def for_sensors(self, names: tuple[str, ...]) -> Prior:
        """Return the prior for another catalogue: a sensor it does not know gets rules only."""
        if names == self.sensors:
            return self
        unknown = neutral_prior(names, self.cadence)
        arrays = {}
        for field in fields(self)[2:]:
            values = getattr(unknown, field.name).copy()
            for number, name in enumerate(names):
                if name in self.sensors:
                    values[number] = getattr(self, field.name)[self.sensors.index(name)]
            arrays[field.name] = values
        return Prior(names, self.cadence, **arrays)

    def _check(self) -> None:
        for field in fields(self)[2:]:
            values = getattr(self, field.name)
            shape = (len(self.sensors), len(WITNESSES)) if field.name == "limits" else (len(self.sensors),)
            if values.shape != shape or not (values > 0).all():
                raise ArtefactRefused(f"prior.{field.name}: expected positive numbers of shape {shape}, got {values!r}")
        if not (np.isfinite(self.cadence) and self.cadence > 0):
            raise ArtefactRefused(f"prior.cadence: expected a positive number of seconds, got {self.cadence}")


def neutral_prior(sensors: tuple[str, ...], cadence: float = 1.0) -> Prior:
    """Return a prior that knows nothing: tiny spreads of its own, and no witness ever at its limit."""
    ones = np.ones(len(sensors))
    unlimited = np.full((len(sensors), len(WITNESSES)), np.inf)
    tiny = ones * 1e-9
    return Prior(sensors, cadence, tiny, tiny, tiny, tiny, ones * np.inf, unlimited)


def _plain(value: object) -> object:
    # JSON knows no infinity; null stands for it.
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.tolist()]
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if value == np.inf else value


def _array(values: list) -> np.ndarray:
    rows = [[np.inf if x is None else x for x in row] if isinstance(row, list) else row for row in values]
    return np.array([np.inf if row is None else row for row in rows], dtype=np.float64)
