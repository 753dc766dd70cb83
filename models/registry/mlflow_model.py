"""A version's forest as an MLflow model: what a data scientist finds in the registry's pages and loads in a notebook.

stationwatch itself never loads it. The files are written from the artefact's own skops bytes, because MLflow's
`save_model` would serialise the forest a second time, which takes longer than everything else of registering.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from models.scoring.artefact import TRUSTED_TYPES, Artefact, sha256_of
from models.scoring.features import FEATURES

_REQUIREMENTS = ("scikit-learn", "skops", "numpy")
_MODEL_FILE, _REQUIREMENTS_FILE = "model.skops", "requirements.txt"


def write_mlflow_model(folder: Path, artefact: bytes) -> None:
    """Write an MLflow model with the flavours sklearn and pyfunc, which scores by `score_samples` (low is abnormal).

    Raises:
        ArtefactRefused: not an artefact.
    """
    from mlflow import pyfunc
    from mlflow.models import Model
    from mlflow.models.signature import ModelSignature
    from mlflow.types import ColSpec, Schema

    parts = Artefact.from_bytes(artefact, sha256_of(artefact))
    inputs = Schema([ColSpec("double", name) for name in FEATURES])
    model = Model(signature=ModelSignature(inputs, Schema([ColSpec("double")])))
    pyfunc.add_to_model(
        model, loader_module="mlflow.sklearn", model_path=_MODEL_FILE, predict_fn="score_samples", python_version="3.11"
    )
    model.add_flavor(
        "sklearn",
        pickled_model=_MODEL_FILE,
        sklearn_version=version("scikit-learn"),
        serialization_format="skops",
        code=None,
        skops_trusted_types=list(TRUSTED_TYPES),
    )
    (folder / _MODEL_FILE).write_bytes(parts.forest)
    pinned = [f"{name}=={version(name)}" for name in _REQUIREMENTS]
    (folder / _REQUIREMENTS_FILE).write_text("\n".join(pinned) + "\n", encoding="utf-8")
    model.save(str(folder / "MLmodel"))
