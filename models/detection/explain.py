"""Why a reading was flagged, in numbers and in one sentence. For flagged readings only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from models.detection.block import WITNESSES, Blocks
from models.detection.detector import Detector
from models.detection.sensors import Sensor
from models.detection.verdict import Verdicts, rules_of

_UNIT_SHOWN = {"Cel": "°C", "%": "%", "dB": "dB", "1": ""}


def verdict_documents(
    detector: Detector, blocks: Blocks, verdicts: Verdicts, catalogue: Sequence[Sensor]
) -> list[bytes]:
    """Explain readings: JSON with sensors, witnesses, rules and a sentence, one document a reading.

    Args:
        detector: the version that judged.
        blocks: n readings.
        verdicts: what was said of them.
        catalogue: the stream's sensors, in the blocks' order.
    """
    shares = _contributions(blocks)
    encode = msgspec.json.Encoder().encode
    return [encode(_document(detector, blocks, verdicts, catalogue, shares, row)) for row in range(len(blocks))]


def _contributions(blocks: Blocks) -> np.ndarray:
    """Share of each sensor in the verdict, (n, n_sensors), summing to 1: its worst witness or rule among all."""
    worst = np.abs(blocks.witnesses("ratio")).max(axis=2)
    ruled = (blocks.per_sensor("quality") > 0) | (blocks.per_sensor("run") > blocks.per_sensor("run_limit"))
    worst = np.where(ruled, np.maximum(worst, 2.0), worst)
    total = worst.sum(axis=1, keepdims=True)
    return np.where(total > 0, worst / np.where(total > 0, total, 1.0), 1.0 / max(1, len(blocks.sensors)))


def _document(
    detector: Detector, blocks: Blocks, verdicts: Verdicts, catalogue: Sequence[Sensor], shares: np.ndarray, row: int
) -> dict[str, Any]:
    sensors = [_sensor(blocks, catalogue[number], number, row, shares[row, number]) for number in range(len(catalogue))]
    rules = rules_of(int(verdicts.flags[row]))
    spec = detector.spec
    forest = {"name": "iforest", "score": _finite(verdicts.forest[row]), "threshold": _finite(spec.forest_threshold)}
    witnesses = [{**forest, "fired": bool(verdicts.forest[row] > spec.forest_threshold)}]
    for witness in WITNESSES:
        for number, sensor in enumerate(catalogue):
            u = abs(float(blocks.witness(witness, "ratio")[row, number]))
            threshold = spec.factors.get(f"{witness}:{sensor.name}", 1.0)
            fired = u > threshold * float(blocks.witness(witness, "h")[row, number])
            name = f"{witness}:{sensor.name}"
            witnesses.append({"name": name, "score": _finite(u), "threshold": _finite(threshold), "fired": fired})
    return {"sensors": sensors, "witnesses": witnesses, "rules": rules, "explanation": _sentence(sensors, rules)}


def _sensor(blocks: Blocks, sensor: Sensor, number: int, row: int, share: float) -> dict[str, Any]:
    actual, typical, lower, upper = (
        _finite(blocks.per_sensor(column)[row, number]) for column in ("value", "typical", "lower", "upper")
    )
    direction = "missing" if actual is None else "above" if typical is not None and actual > typical else "below"
    return {
        "name": sensor.name,
        "unit": sensor.unit,
        "actual": actual,
        "typical": typical,
        "lower": lower,
        "upper": upper,
        "direction": direction if actual != typical else "equal",
        "contribution": round(float(share), 4),
    }


def _sentence(sensors: list[dict[str, Any]], rules: list[str]) -> str:
    worst = max(sensors, key=lambda sensor: sensor["contribution"])
    unit = _UNIT_SHOWN.get(worst["unit"], worst["unit"])
    name = worst["name"].replace("_", " ").capitalize()
    others = [sensor["name"] for sensor in sensors if sensor is not worst]
    tail = f"; {', '.join(others)} contribute less." if others else "."
    if worst["actual"] is None:
        return f"{name} is missing{tail}"
    ruled = f" Rules: {', '.join(rules)}." if rules else ""
    if worst["lower"] is None or worst["upper"] is None:
        return f"{name} {worst['actual']:.4g} {unit}{tail}{ruled}"
    distance = abs(worst["actual"] - worst["typical"])
    side = "at" if worst["direction"] == "equal" else f"{distance:.3g} {worst['direction']}"
    band = f"(normal {worst['lower']:.4g}–{worst['upper']:.4g})"
    return f"{name} {worst['actual']:.4g} {unit} is {side} typical {worst['typical']:.4g} {band}{tail}{ruled}"


def _finite(number: float) -> float | None:
    """Shortest decimal that names a float32, None when it is not finite."""
    return float(str(np.float32(number))) if math.isfinite(number) else None
