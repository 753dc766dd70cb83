"""One model version: from blocks to verdicts. Pure, and the same in the stream, in training and in a backtest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from core.errors import ArtefactRefused
from core.verdict import Flag, Verdicts, score_of, severity_of
from models.kernels.scoring_kernel import Bits, read_witnesses
from models.kernels.statistics_kernel import TAIL
from models.scoring.exemptions import Exemptions
from models.scoring.feature_block import WITNESSES, Blocks
from models.scoring.features import FEATURES, Reference, features
from models.scoring.isolation_forest import PackedForest
from models.scoring.rules import RULE_BITS, RULES, apply_rules

# Shares of training readings with a higher score, at which the score is kept.
CALIBRATION = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05, TAIL)
_BITS = Bits(*(int(Flag[name.upper()]) for name in Bits._fields))
# A release that knows no exemptions must not judge without them.
_FORMAT, _EXEMPTING_FORMAT = "stationwatch-detector-2", "stationwatch-detector-3"


class Spec(msgspec.Struct, frozen=True):
    """What a version holds beside its forest; the JSON half of its artefact.

    Args:
        sensors: names the version knows.
        centre, reach: its reference, sensor units; see `features.Reference`.
        forest_typical, forest_threshold: median and threshold of the forest's training scores, in (0, 1].
        budget: false alarm episodes per station and day that the thresholds aim at.
        factors: k of each witness, "witness:sensor" → factor; 1 where absent.
        trained: facts for people: rows, stations, window, library versions.
        score_quantiles: scores that shares `CALIBRATION` of the training readings passed; empty when unknown.
        score_tail: the tail beyond: its start, mean excess and generalised Pareto shape.
        exemptions: looks that fire no more, learnt from feedback; set by `exempting`.
    """

    sensors: tuple[str, ...]
    centre: tuple[float, ...]
    reach: tuple[float, ...]
    forest_typical: float
    forest_threshold: float
    budget: float
    factors: dict[str, float] = {}
    trained: dict[str, str | int | float] = {}
    score_quantiles: tuple[float, ...] = ()
    score_tail: tuple[float, float, float] = (0.0, 0.0, 0.0)
    exemptions: Exemptions | None = None
    format: str = _FORMAT

    def exempting(self, exemptions: Exemptions | None) -> Spec:
        """Return the spec with these exemptions instead of its own."""
        form = _FORMAT if exemptions is None else _EXEMPTING_FORMAT
        return msgspec.structs.replace(self, exemptions=exemptions, format=form)

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
        same = len(spec.sensors) == len(spec.centre) == len(spec.reach)
        same &= len(spec.score_quantiles) in (0, len(CALIBRATION))
        same &= spec.format == (_FORMAT if spec.exemptions is None else _EXEMPTING_FORMAT)
        if not same or not 0 < spec.forest_typical < spec.forest_threshold:
            raise ArtefactRefused(f"detector.json is not a usable {_FORMAT}: {spec}")
        if spec.exemptions is not None:
            try:
                spec.exemptions.table()
            except ValueError as error:
                raise ArtefactRefused(f"detector.json: {error}") from error
        return spec


@dataclass(frozen=True)
class Detector:
    """A champion or challenger, ready to judge."""

    spec: Spec
    forest: PackedForest
    reference: Reference = field(init=False)

    def __post_init__(self) -> None:
        if tuple(self.forest.feature_names) != FEATURES:
            raise ArtefactRefused(f"the forest has features {self.forest.feature_names}, this release has {FEATURES}")
        reference = Reference(self.spec.sensors, np.array(self.spec.centre), np.array(self.spec.reach))
        object.__setattr__(self, "reference", reference)

    def judge(self, blocks: Blocks, stations: Sequence[str] | None = None) -> Verdicts:
        """Judge readings by their blocks, and by their stations where the version exempts any.

        Args:
            blocks: n readings.
            stations: of each. Without them nothing is exempt, which changes no verdict of a stored anomaly.

        Returns:
            n verdicts; see `Verdicts`. A missing value is never scored as normal by itself: the row is INCOMPLETE.
        """
        forest = self.forest.anomaly_score(features(blocks, self.reference))
        ratio = np.maximum(self.forest_ratio(forest), blocks.common("lasting"))
        fired = forest > self.spec.forest_threshold
        said, flags, beyond = said_of(blocks, self._factors(blocks.sensors))
        ratio, fired = np.maximum(ratio, said), fired | beyond
        for rule in RULES:
            ratio = np.where(flags & rule.bit, np.maximum(ratio, rule.ratio), ratio)
        fired |= (flags & RULE_BITS) != 0
        if self.spec.exemptions is not None and stations is not None:
            exempt = self._exempt(blocks, stations, flags, np.flatnonzero(fired))
            fired[exempt] = False
            flags[exempt] |= Flag.EXEMPT
        flags[fired] |= Flag.ANOMALY
        return Verdicts(score_of(ratio), severity_of(ratio, fired), flags, forest)

    def _exempt(self, blocks: Blocks, stations: Sequence[str], flags: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return those of the rows that look like what people called false alarms."""
        names = [stations[row] for row in rows.tolist()]
        rules = flags[rows] & RULE_BITS
        covered = self.spec.exemptions.covers(blocks.take(rows), names, rules) if self.spec.exemptions else ()
        return rows[np.asarray(covered, bool)]

    def forest_ratio(self, forest: np.ndarray) -> np.ndarray:
        """Return the forest's scores as multiples of its limit: 0 at its median, 1 at its threshold."""
        spec = self.spec
        return np.maximum((forest - spec.forest_typical) / (spec.forest_threshold - spec.forest_typical), 0.0)

    def witness_ratios(self, blocks: Blocks) -> np.ndarray:
        """Return |ratio| / k of each witness, (n, n_sensors, n_witnesses) float64; it fires above its h."""
        return np.abs(blocks.witnesses("ratio").astype(np.float64)) / self._factors(blocks.sensors)

    def _factors(self, sensors: tuple[str, ...]) -> np.ndarray:
        """Return k of each witness, (n_sensors, n_witnesses) float64."""
        return np.array(
            [[self.spec.factors.get(f"{witness}:{name}", 1.0) for witness in WITNESSES] for name in sensors]
        )

    def p_value(self, score: float) -> float:
        """Return how large a share of the training readings scored as high: in the bulk counted, beyond it by the tail.

        Source: conformal p-value (Vovk, Gammerman, Shafer 2005) up to the 98 % quantile, generalised Pareto beyond.
        """
        spec = self.spec
        if not spec.score_quantiles:
            return 1.0
        start, excess, shape = spec.score_tail
        if score <= start or excess <= 0.0:
            return float(np.interp(score, spec.score_quantiles, CALIBRATION))
        far = (score - start) / (excess * (1.0 - shape))
        if shape == 0.0:
            return TAIL * math.exp(-far)
        return TAIL * float(max(1.0 + shape * far, 0.0) ** (-1.0 / shape))

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


def said_of(blocks: Blocks, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read what witnesses and rules say from blocks.

    Args:
        blocks: n readings.
        factors: (n_sensors, n_witnesses) float64, k of each witness.

    Returns:
        (n,) float64 largest |ratio| / k, or how near a rule is to being broken; (n,) int32 flags without ANOMALY and
        EXEMPT; (n,) bool whether a witness fires.
    """
    flags, nearest = apply_rules(blocks)
    ratio, fired = np.zeros(len(blocks)), np.zeros(len(blocks), np.bool_)
    read_witnesses(blocks.whole(), factors, _BITS, ratio, flags, fired)
    return np.maximum(ratio, nearest), flags, fired
