"""One model version: from blocks to verdicts. Pure, and the same in the stream, in training and in a backtest."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import numpy as np

from models.detection.block import IMPLAUSIBLE, MISSING, WITNESSES, Blocks
from models.detection.errors import ArtefactRefused
from models.detection.features import Reference, feature_names, features
from models.detection.forest import PackedForest
from models.detection.verdict import RULES, Flag, Verdicts, score_of, severity_of

MISSING_AFTER = 3  # readings in a row without a value before the rule fires
WARM_WEIGHT = 0.5  # below it a station counts as warming up
_FORMAT = "stationwatch-detector-1"


class Spec(msgspec.Struct, frozen=True):
    """What a version holds beside its forest; the JSON half of its artefact.

    Args:
        sensors: names the version knows.
        centre, spread: its reference, sensor units; see `features.Reference`.
        forest_typical, forest_threshold: median and threshold of the forest's training scores, in (0, 1].
        budget: false alarm episodes per station and day that the thresholds aim at.
        factors: k of each witness, "witness:sensor" → factor; 1 where absent.
        trained: facts for people: rows, stations, window, library versions.
    """

    sensors: tuple[str, ...]
    centre: tuple[float, ...]
    spread: tuple[float, ...]
    forest_typical: float
    forest_threshold: float
    budget: float
    factors: dict[str, float] = {}
    trained: dict[str, str | int | float] = {}
    format: str = _FORMAT

    def to_json(self) -> bytes:
        """Return the spec as canonical JSON."""
        return msgspec.json.encode(self, order="sorted")

    @classmethod
    def from_json(cls, data: bytes) -> Spec:
        """Read a spec back.

        Raises:
            ArtefactRefused: not a spec of this release.
        """
        try:
            spec = msgspec.json.decode(data, type=cls)
        except msgspec.MsgspecError as error:
            raise ArtefactRefused(f"detector.json cannot be read: {error}") from error
        same = len(spec.sensors) == len(spec.centre) == len(spec.spread)
        if spec.format != _FORMAT or not same or not 0 < spec.forest_typical < spec.forest_threshold:
            raise ArtefactRefused(f"detector.json is not a usable {_FORMAT}: {spec}")
        return spec


@dataclass(frozen=True)
class Detector:
    """A champion or challenger, ready to judge."""

    spec: Spec
    forest: PackedForest
    reference: Reference = field(init=False)

    def __post_init__(self) -> None:
        expected = feature_names(self.spec.sensors)
        if tuple(self.forest.feature_names) != expected:
            raise ArtefactRefused(f"the forest has features {self.forest.feature_names}, the spec implies {expected}")
        reference = Reference(self.spec.sensors, np.array(self.spec.centre), np.array(self.spec.spread))
        object.__setattr__(self, "reference", reference)

    def judge(self, blocks: Blocks) -> Verdicts:
        """Judge readings by their blocks alone.

        Args:
            blocks: n readings. A sensor that the version does not know is judged by rules only.

        Returns:
            n verdicts; see `Verdicts`. A missing value is never scored as normal by itself: the row is INCOMPLETE.
        """
        forest = self.forest.anomaly_score(features(blocks, self.reference))
        ratio = self._forest_ratio(forest)
        fired = ratio > 1.0
        for witness in WITNESSES:
            u, limit, h = self._witness(blocks, witness)
            ratio = np.maximum(ratio, (u / limit).max(axis=1, initial=0.0))
            fired |= (u > limit * h).any(axis=1)
        flags = _rule_flags(blocks)
        for rule, stated in RULES.items():
            ratio = np.where(flags & rule, np.maximum(ratio, stated), ratio)
        fired |= (flags & sum(RULES)) != 0
        flags |= np.where(fired, Flag.ANOMALY, 0) | _state_flags(blocks)
        return Verdicts(score_of(ratio), severity_of(ratio, fired), flags.astype(np.int32), forest)

    def _forest_ratio(self, forest: np.ndarray) -> np.ndarray:
        spec = self.spec
        return np.maximum((forest - spec.forest_typical) / (spec.forest_threshold - spec.forest_typical), 0.0)

    def _witness(self, blocks: Blocks, witness: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        factors = np.array([self.spec.factors.get(f"{witness}:{name}", 1.0) for name in blocks.sensors])
        u = np.abs(blocks.witness(witness, "u").astype(np.float64))
        return u, blocks.witness(witness, "limit") * factors, blocks.witness(witness, "h").astype(np.float64)

    def to_bytes(self) -> bytes:
        """Return the detector as it is broadcast: the spec, then the packed forest."""
        return msgspec.msgpack.encode((self.spec.to_json(), self.forest.to_bytes()))

    @classmethod
    def from_bytes(cls, data: bytes) -> Detector:
        """Read a broadcast detector back.

        Raises:
            ArtefactRefused: bytes that are no detector.
        """
        try:
            spec, forest = msgspec.msgpack.decode(data, type=tuple[bytes, bytes])
        except msgspec.MsgspecError as error:
            raise ArtefactRefused(f"the detector cannot be read: {error}") from error
        return cls(Spec.from_json(spec), PackedForest.from_bytes(forest))


def _rule_flags(blocks: Blocks) -> np.ndarray:
    quality = blocks.per_sensor("quality")
    stuck = blocks.per_sensor("run") > blocks.per_sensor("run_limit")
    missing = blocks.per_sensor("missing_run") >= MISSING_AFTER
    flags = np.where((quality == IMPLAUSIBLE).any(axis=1), Flag.IMPLAUSIBLE, 0)
    flags |= np.where(stuck.any(axis=1), Flag.STUCK, 0)
    return flags | np.where(missing.any(axis=1), Flag.MISSING, 0)


def _state_flags(blocks: Blocks) -> np.ndarray:
    flags = np.where((blocks.per_sensor("quality") == MISSING).any(axis=1), Flag.INCOMPLETE, 0)
    flags |= np.where(blocks.common("late") > 0, Flag.LATE, 0)
    return flags | np.where(blocks.per_sensor("weight").max(axis=1) < WARM_WEIGHT, Flag.WARMING_UP, 0)
