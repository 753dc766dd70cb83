"""Why a reading was flagged, as the JSON that is stored with it. For flagged readings only.

`contributions` says whose doing it is, `cause` what may be behind it, `actions` what to do, `sentence` all of it in
words. What the members mean, what it costs and how often it is right: docs/explanations.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from core.sensors import Sensor
from core.verdict import Verdicts
from models.explanation.cause import cause_of
from models.explanation.contributions import contributions
from models.explanation.recommended_actions import Actions, reviewed_actions
from models.explanation.sensor_findings import Finding, findings_of
from models.explanation.sentence import sentence
from models.scoring.detector import Detector
from models.scoring.feature_block import WITNESSES, Blocks
from models.scoring.rules import rules_of

_DIGITS = 4  # of shares and ratios


class _Witness(msgspec.Struct, gc=False):
    """One witness; a struct, because a flagged reading has some thirty and dictionaries keep the collector busy."""

    name: str
    score: float
    threshold: float
    fired: bool


def verdict_documents(
    detector: Detector,
    blocks: Blocks,
    verdicts: Verdicts,
    catalogue: Sequence[Sensor],
    actions: Actions | None = None,
) -> list[bytes]:
    """Explain readings: JSON with sensors, witnesses, rules, a sentence, cause, action and p-value, one each.

    Args:
        detector: the version that judged.
        blocks: n readings.
        verdicts: what was said of them.
        catalogue: the stream's sensors, in the blocks' order.
        actions: the table of recommended actions; this release's own unless given.
    """
    if not len(blocks):
        return []
    table = actions or reviewed_actions()
    shares = _adding_up(contributions(detector, blocks))
    found = findings_of(detector, blocks, verdicts.is_anomaly, shares, catalogue)
    witnesses = _witnesses(detector, blocks, verdicts, catalogue)
    encode = msgspec.json.Encoder().encode
    documents = []
    for row, reading in enumerate(found):
        cause = cause_of(reading, table.surroundings)
        leading = reading.leading
        document = {
            "sensors": [_sensor(finding) for finding in reading.sensors],
            "witnesses": witnesses[row],
            "rules": rules_of(int(verdicts.flags[row])),
            "explanation": sentence(reading),
            "cause": {"hint": cause.hint, "evidence": cause.evidence},
            "action": {"text": table.recommended(leading.sensor.name, direction(leading), cause.hint, cause.action)},
            "p_value": float(f"{detector.p_value(float(verdicts.score[row])):.3g}"),
        }
        documents.append(encode(document))
    return documents


def direction(finding: Finding) -> str:
    """Where a value is: above, below or equal to what is typical, or missing."""
    if finding.absent:
        return "missing"
    if finding.actual == finding.typical or math.isnan(finding.typical):
        return "equal"
    return "above" if finding.actual > finding.typical else "below"


def _adding_up(shares: np.ndarray) -> np.ndarray:
    """Round so that rows still sum to 1, and equal shares stay equal wherever in a batch they were computed."""
    rounded = np.round(shares, _DIGITS)
    largest = rounded.argmax(axis=1)
    rounded[np.arange(len(rounded)), largest] += 1.0 - rounded.sum(axis=1)
    return np.round(rounded, _DIGITS)


def _sensor(finding: Finding) -> dict[str, Any]:
    return {
        "name": finding.sensor.name,
        "unit": finding.sensor.unit,
        "actual": _finite(finding.actual),
        "typical": _finite(finding.typical),
        "lower": _finite(finding.lower),
        "upper": _finite(finding.upper),
        "direction": direction(finding),
        "contribution": finding.share,
    }


def _witnesses(
    detector: Detector, blocks: Blocks, verdicts: Verdicts, catalogue: Sequence[Sensor]
) -> list[list[_Witness]]:
    """The forest with its own score and threshold; of the others |ratio| / k and the controller it has to pass."""
    threshold = detector.spec.forest_threshold
    ratio, limit = detector.witness_ratios(blocks), blocks.witnesses("h").astype(np.float64)
    names = [f"{witness}:{sensor.name}" for sensor in catalogue for witness in WITNESSES]
    n = len(blocks)
    columns = (np.round(ratio, _DIGITS), np.round(limit, _DIGITS), ratio > limit)
    scores, limits, fired = (column.reshape(n, -1).tolist() for column in columns)
    forest = zip(verdicts.forest.round(_DIGITS).tolist(), (verdicts.forest > threshold).tolist(), strict=True)
    documents = []
    for row, (score, beyond) in enumerate(forest):
        witnesses = [_Witness("iforest", score, round(threshold, _DIGITS), beyond)]
        witnesses += map(_Witness, names, scores[row], limits[row], fired[row])
        documents.append(witnesses)
    return documents


def _finite(value: float) -> float | None:
    """Shortest decimal that names a float32, None when it is not finite."""
    return float(str(np.float32(value))) if math.isfinite(value) else None
