"""The prior: what is expected of a station before it has shown anything itself.

Pooled over the training stations, immutable, and data of the stream: a replay from the first offset uses the same
prior and so rebuilds the same state. See `stream_identity`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace

import msgspec
import numpy as np

from core.errors import ArtefactRefused
from models.kernels.columns import CROSS_BAND, N_WITNESSES
from models.kernels.statistics_kernel import N_CROSSED

_FORMAT = "stationwatch-prior-3"
_POSITIVE = ("floor", "run_limit", "tail_start", "tail_excess")
# The 98 % quantile of |z| of a Gaussian, and its mean excess over it. Its tail is a little shorter than exponential.
GAUSSIAN_TAIL = (2.33, 0.34, -0.1)


@dataclass(frozen=True)
class Prior:
    """Expectations, float64: (n_sensors,) in the sensors' units unless said otherwise.

    Args:
        sensors: names, in catalogue order.
        cadence: median interval between readings, s.
        budget: false alarms the limits aim at; see `alarm_budget.episodes_per_day`.
        gap_limit: s; silence longer than this, and than ten of the station's own intervals, is a gap.
        trust: in 0…1, how much history the limits rest on; see `fit_prior.trust`.
        floor: least spread that is ever divided by.
        resolution: smallest step that the sensor reports, 0 when unknown.
        run_limit: readings; a longer run of equal values is a stuck sensor. Infinite switches the rule off.
        missing_limit: readings; a longer run without a value is a missing sensor. Infinite switches the rule off.
        spread: (n_sensors, n_witnesses) spread of each witness in its own unit; 0 where nothing is known of a sensor.
        tail_start: (n_sensors, n_witnesses) 98 % quantile of |witness| in spreads. Infinite switches the witness off.
        tail_excess: (n_sensors, n_witnesses) how far values beyond it lie beyond it on average, spreads.
        tail_shape: (n_sensors, n_witnesses) of a generalised Pareto: above 0 is heavier than exponential.
        covariance: (n_crossed, n_sensors, n_sensors) of the sensors' bands and levels, in spreads; symmetric.
    """

    sensors: tuple[str, ...]
    cadence: float
    budget: float
    gap_limit: float
    trust: float
    floor: np.ndarray
    resolution: np.ndarray
    run_limit: np.ndarray
    missing_limit: np.ndarray
    spread: np.ndarray
    tail_start: np.ndarray
    tail_excess: np.ndarray
    tail_shape: np.ndarray
    covariance: np.ndarray

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
            names, cadence, budget = tuple(document.pop("sensors")), document.pop("cadence"), document.pop("budget")
            gap_limit, trust = float(_array(document.pop("gap_limit"))), float(document.pop("trust"))
            arrays = {name: _array(values) for name, values in document.items()}
            prior = cls(names, float(cadence), float(budget), gap_limit, trust, **arrays)
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
            raise ArtefactRefused(f"the prior cannot be read: {error}") from error
        prior._check()
        return prior

    @property
    def sha256(self) -> str:
        """Identity of this prior."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def for_sensors(self, names: tuple[str, ...]) -> Prior:
        """Return the prior for another catalogue. A sensor it does not know has to show itself first."""
        if names == self.sensors:
            return self
        fitted = replace(neutral_prior(names, self.cadence, self.budget), gap_limit=self.gap_limit, trust=self.trust)
        to = [place for place, name in enumerate(names) if name in self.sensors]
        source = [self.sensors.index(names[place]) for place in to]
        for field in fields(self)[5:-1]:  # per sensor, all but the covariance
            getattr(fitted, field.name)[to] = getattr(self, field.name)[source]
        for crossed in range(N_CROSSED):
            fitted.covariance[crossed][np.ix_(to, to)] = self.covariance[crossed][np.ix_(source, source)]
        if len(names) < 2:
            fitted.tail_start[:, CROSS_BAND:] = np.inf
        return fitted

    def _check(self) -> None:
        n = len(self.sensors)
        shapes: dict[str, tuple[int, ...]] = {
            name: (n,) for name in ("floor", "resolution", "run_limit", "missing_limit")
        }
        shapes |= {name: (n, N_WITNESSES) for name in ("spread", "tail_start", "tail_excess", "tail_shape")}
        shapes["covariance"] = (N_CROSSED, n, n)
        for name, shape in shapes.items():
            values = getattr(self, name)
            if values.shape != shape or np.isnan(values).any() or (name in _POSITIVE and not (values > 0).all()):
                raise ArtefactRefused(f"prior.{name}: expected numbers of shape {shape}, got {values!r}")
        for name in ("cadence", "budget"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ArtefactRefused(f"prior.{name}: expected a positive number, got {getattr(self, name)}")
        if not 0.0 <= self.trust <= 1.0:
            raise ArtefactRefused(f"prior.trust: expected 0 to 1, got {self.trust}")


def neutral_prior(sensors: tuple[str, ...], cadence: float = 1.0, budget: float = 1.0) -> Prior:
    """Return a prior that knows nothing: each sensor learns from its own first readings, which are not judged."""
    n = len(sensors)
    start, excess, shape = (np.full((n, N_WITNESSES), number) for number in GAUSSIAN_TAIL)
    if n < 2:
        start[:, CROSS_BAND:] = np.inf
    return Prior(
        sensors, cadence, budget, np.inf, 0.0,
        floor=np.full(n, 1e-9),
        resolution=np.zeros(n),
        run_limit=np.full(n, np.inf),
        missing_limit=np.full(n, np.inf),
        spread=np.zeros((n, N_WITNESSES)),
        tail_start=start,
        tail_excess=excess,
        tail_shape=shape,
        covariance=np.tile(np.eye(n), (N_CROSSED, 1, 1)),
    )  # fmt: skip


def _plain(value: object) -> object:
    # JSON knows no infinity; null stands for it.
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.tolist()]
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if value == np.inf else value


def _array(values: object) -> np.ndarray:
    """Read numbers back, null as infinity."""
    # object → float turns None into NaN, and no prior holds NaN.
    array = np.array(values, dtype=object).astype(np.float64)
    return np.where(np.isnan(array), np.inf, array)
