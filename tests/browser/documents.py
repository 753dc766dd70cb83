"""Verdict documents as the stream writes them, for a plant to look at."""

from __future__ import annotations

import json

import numpy as np

from core.sensors import DEFAULT_SENSORS

LIMIT = 5.0
UNITS = {"Cel": "°C"}
CAUSES = {
    "shift": (
        "step change on one sensor",
        "The level moved within two readings and stays; the other sensors do not follow.",
        "Check the sensor's mounting and its reference point; compare with a hand-held meter before stopping.",
    ),
    "burst": (
        "unsteady signal",
        "The scatter of this sensor is many times its usual one while its mean stays.",
        "Look for a loose connector or a bearing that begins to fail; listen on site.",
    ),
}


def document(values: np.ndarray, typical: np.ndarray, band: np.ndarray, kind: str) -> str:
    """A verdict document in the shape of the contract; values, typical and half the band per sensor."""
    ratio = np.abs(values - typical) / band
    shares = ratio / ratio.sum()
    worst = int(ratio.argmax())
    sensors = [
        {
            "name": sensor.name, "unit": sensor.unit, "actual": round(float(values[at]), 1),
            "typical": round(float(typical[at]), 2), "lower": round(float(typical[at] - band[at]), 2),
            "upper": round(float(typical[at] + band[at]), 2),
            "direction": "above" if values[at] > typical[at] else "below",
            "contribution": round(float(shares[at]), 4),
        }
        for at, sensor in enumerate(DEFAULT_SENSORS)
    ]  # fmt: skip
    said = sensors[worst]
    unit = UNITS.get(str(said["unit"]), said["unit"])
    distance = abs(values[worst] - typical[worst])
    others = " and ".join(str(sensor["name"]) for sensor in sensors if sensor is not said)
    explanation = (
        f"{str(said['name']).capitalize()} {said['actual']} {unit} is {distance:.1f} {said['direction']} typical "
        f"{said['typical']:.1f} (normal {said['lower']:.1f}–{said['upper']:.1f}); {others} normal."
    )
    u = LIMIT * ratio
    witnesses = [{"name": "iforest", "score": round(0.52 + 0.03 * float(u[worst]) / LIMIT, 3), "threshold": 0.604}]
    for name, factor in (("innovation", 0.7), ("level", 1.0), ("noise", 0.35), ("cross", 0.85)):
        witnesses += [
            {"name": f"{name}:{sensor.name}", "score": round(float(factor * u[at]), 2), "threshold": LIMIT}
            for at, sensor in enumerate(DEFAULT_SENSORS)
        ]
    hint, evidence, action = CAUSES[kind]
    return json.dumps(
        {
            "sensors": sensors,
            "witnesses": [{**one, "fired": one["score"] > one["threshold"]} for one in witnesses],
            "rules": [],
            "explanation": explanation,
            "cause": {"hint": hint, "evidence": evidence},
            "action": action,
        }
    )
