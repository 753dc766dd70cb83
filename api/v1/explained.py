"""What is computed about an anomaly on request: exact shares, and what would have been normal."""

from __future__ import annotations

from typing import Any

import numpy as np

from api.http.problems import refuse
from api.services.scoring_service import Judge
from core.errors import ArtefactRefused, NotFound
from storage.driver.session import Store
from storage.tables.anomalies import AnomalyRow


def explained(judge: Judge, store: Store, row: AnomalyRow) -> dict[str, Any]:
    """Return `shap`, the share of each sensor in multiples of the limit, and `smallest_change`, which may be None.

    Refuses with 409 where the block or the version that judged is no longer kept.
    """
    from models.explanation.counterfactual import smallest_change
    from models.explanation.shap_values import shap_values
    from models.scoring.feature_block import unpack_rows

    names = tuple(sensor.name for sensor in judge.sensors)
    try:
        detector = judge.version(store, row.model_version).detector
        blocks = unpack_rows([row.block or b""], names)
    except (NotFound, ArtefactRefused) as error:
        said = f"Model version {row.model_version}, or this anomaly's block, is not kept in a form this release reads."
        raise refuse(409, "not-explainable", said) from error
    # Many sensors are sampled; asked twice, the answer is the same.
    values = shap_values(detector, blocks, rng=np.random.default_rng(0))[0].tolist()
    change = smallest_change(detector, blocks, judge.sensors)[0]
    return {
        "shap": [{"name": name, "value": value} for name, value in zip(names, values, strict=True)],
        "smallest_change": None if change is None else change._asdict(),
    }
