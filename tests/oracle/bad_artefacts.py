"""Artefacts that must be refused before anything in them runs: corrupt, tampered, of other features, with a pickle."""

from __future__ import annotations

import copy
import io
import pickle
import zipfile
from pathlib import Path

import msgspec
import numpy as np
import skops.io

from models.scoring.artefact import TRUSTED_TYPES, Artefact, sha256_of
from models.scoring.detector import Spec


class Sentinel:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        """Nothing is left yet."""
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        """What an unpickler would call."""
        return (Path.touch, (self.path,))


def altered(artefact: bytes, **parts: bytes) -> bytes:
    """The artefact with other parts, whole and in order otherwise."""
    return Artefact.from_bytes(artefact, sha256_of(artefact))._replace(**parts).to_bytes()


def with_spec(artefact: bytes, **fields: object) -> bytes:
    """The artefact with other fields of its spec."""
    spec = Spec.from_json(Artefact.from_bytes(artefact, sha256_of(artefact)).spec)
    return altered(artefact, spec=msgspec.structs.replace(spec, **fields).to_json())


def with_features(artefact: bytes, names: list[str]) -> bytes:
    """The artefact with a forest that was fitted on features of these names."""
    parts = Artefact.from_bytes(artefact, sha256_of(artefact))
    forest = copy.copy(skops.io.loads(parts.forest, trusted=list(TRUSTED_TYPES)))
    forest.feature_names_in_ = np.array(names, dtype=object)
    return parts._replace(forest=skops.io.dumps(forest)).to_bytes()


def with_pickled_arrays(artefact: bytes, sentinel: Path) -> bytes:
    """The artefact with a pickle in the place of each array of its forest."""
    evil = io.BytesIO()
    np.save(evil, np.array([Sentinel(sentinel)], dtype=object), allow_pickle=True)
    forest = Artefact.from_bytes(artefact, sha256_of(artefact)).forest
    rewritten = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(forest)) as source, zipfile.ZipFile(rewritten, "w") as target:
        for name in source.namelist():
            target.writestr(name, evil.getvalue() if name.endswith(".npy") else source.read(name))
    return altered(artefact, forest=rewritten.getvalue())


def registered_by_somebody(artefact: bytes, sentinel: Path) -> dict[str, tuple[bytes, str]]:
    """Artefacts whose hash would be in order; kind → its bytes, and what the refusal says of it."""
    names = list(reversed(skops.io.loads(_forest(artefact), trusted=list(TRUSTED_TYPES)).feature_names_in_))
    return {
        "wrong features": (with_features(artefact, names), "fitted on"),
        "wrong library": (with_spec(artefact, trained={"scikit-learn": "0.24.2"}), "was trained with scikit-learn"),
        "pickled forest": (altered(artefact, forest=pickle.dumps(Sentinel(sentinel))), "not a trusted skops file"),
        "pickled arrays": (with_pickled_arrays(artefact, sentinel), "not a trusted skops file"),
    }


def changed_in_the_store(artefact: bytes, sentinel: Path) -> dict[str, bytes]:
    """Other bytes than were registered, by kind."""
    return {
        "one byte": artefact[:4000] + bytes([artefact[4000] ^ 1]) + artefact[4001:],
        "cut short": artefact[: len(artefact) // 2],
        "a pickle": pickle.dumps(Sentinel(sentinel)),
    }


def _forest(artefact: bytes) -> bytes:
    return Artefact.from_bytes(artefact, sha256_of(artefact)).forest
