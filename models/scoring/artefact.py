"""A model version as bytes: forest (skops), spec, prior and the reference for drift, in one zip file.

The sha256 of the zip is the version's identity. Loading compares it first and reads nothing before it fits: even the
trusted type below reads out of bounds when its arrays are forged, so what protects is where the hash comes from.
"""

from __future__ import annotations

import copy
import hashlib
import io
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from core.errors import ArtefactRefused, FeatureMismatch
from models.scoring.detector import Detector, Spec
from models.scoring.features import FEATURES
from models.scoring.isolation_forest import PackedForest
from models.scoring.station_prior import Prior

if TYPE_CHECKING:
    from sklearn.ensemble import IsolationForest

FOREST, SPEC, PRIOR, REFERENCE = "forest.skops", "detector.json", "prior.json", "drift_reference.npz"
TRUSTED_TYPES = ("sklearn.tree._tree.Tree",)
_LIBRARY = "scikit-learn"
# zip has no earlier date; a fixed one makes equal contents equal bytes.
_NO_DATE = (1980, 1, 1, 0, 0, 0)


class Artefact(NamedTuple):
    """The parts of a version as bytes: the forest as skops writes it, the spec and the prior as JSON.

    `reference` is read by `models.drift.reference`; empty in versions that were made without one.
    """

    forest: bytes
    spec: bytes
    prior: bytes
    reference: bytes = b""

    def to_bytes(self) -> bytes:
        """Return the zip file; equal parts give equal bytes."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, part in zip((FOREST, SPEC, PRIOR, REFERENCE), self, strict=True):
                if name == REFERENCE and not part:
                    continue
                archive.writestr(zipfile.ZipInfo(name, _NO_DATE), part, zipfile.ZIP_DEFLATED, 6)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, expected_sha256: str) -> Artefact:
        """Take the zip file apart; nothing in it is interpreted.

        Raises:
            ArtefactRefused: another sha256 than expected, or not such a file.
        """
        found = sha256_of(data)
        if found != expected_sha256:
            raise ArtefactRefused(
                f"the model artefact ({len(data)} bytes) has sha256 {found}, expected {expected_sha256 or 'one'}: "
                "it was changed or cut short after it was registered, and was not opened"
            )
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                reference = archive.read(REFERENCE) if REFERENCE in archive.namelist() else b""
                forest, spec, prior = (archive.read(name) for name in (FOREST, SPEC, PRIOR))
                return cls(forest, spec, prior, reference)
        except (zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError, RuntimeError) as error:
            raise ArtefactRefused(f"the model artefact {found[:12]} is not a stationwatch artefact: {error}") from error


@dataclass(frozen=True)
class LoadedArtefact:
    """A version ready to judge, and the prior it was fitted with; the reference for drift as bytes, few need it."""

    detector: Detector
    prior: Prior
    sha256: str
    reference: bytes = b""


def pack(forest: IsolationForest, spec: Spec, prior: Prior, reference: bytes = b"") -> bytes:
    """Return a version as bytes. Two packings of one forest differ: skops writes memory addresses.

    Args:
        forest: fitted.
        spec: limits and factors of the version.
        prior: it was fitted with.
        reference: a `DriftReference` as bytes; empty for none.
    """
    from skops.io import dumps

    # Every tree sees every feature; one array for all of them instead of equal ones spares a fifth of loading.
    slim = copy.copy(forest)
    slim.estimators_features_ = [forest.estimators_features_[0]] * len(forest.estimators_features_)
    return Artefact(dumps(slim), spec.to_json(), prior.to_bytes(), reference).to_bytes()


def sha256_of(data: bytes) -> str:
    """Return the identity of an artefact's bytes, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def load(data: bytes, expected_sha256: str) -> LoadedArtefact:
    """Load a version, and refuse everything else before any unpickler could run.

    Args:
        data: the artefact.
        expected_sha256: from the registry or the activation, never from beside the bytes.

    Raises:
        ArtefactRefused: other bytes than expected, not an artefact, from another scikit-learn major version, untrusted
            types, or a forest of other features than the spec says.
    """
    parts = Artefact.from_bytes(data, expected_sha256)
    spec, prior = Spec.from_json(parts.spec), Prior.from_bytes(parts.prior)
    _check_library(spec)
    forest = _forest_of(parts.forest)
    try:
        packed = PackedForest.from_sklearn(forest, FEATURES)
    except FeatureMismatch as error:
        raise ArtefactRefused(f"the artefact's forest does not fit its spec: {error}") from error
    return LoadedArtefact(Detector(spec, packed), prior, expected_sha256, parts.reference)


def _forest_of(data: bytes) -> IsolationForest:
    from sklearn.ensemble import IsolationForest
    from skops.io import loads

    try:
        forest = loads(data, trusted=list(TRUSTED_TYPES))
    # What skops raises for types it does not trust (a TypeError) and for files that are none of its own.
    except (TypeError, ValueError, KeyError, AttributeError, ImportError, OSError, zipfile.BadZipFile) as error:
        raise ArtefactRefused(f"the artefact's forest is not a trusted skops file: {error}") from error
    if type(forest) is not IsolationForest or not hasattr(forest, "estimators_"):
        raise ArtefactRefused(f"the artefact holds a {type(forest).__name__} where a fitted IsolationForest belongs")
    return forest


def _check_library(spec: Spec) -> None:
    import sklearn

    recorded = str(spec.trained.get(_LIBRARY, "unknown"))
    if recorded.split(".")[0] != sklearn.__version__.split(".")[0]:
        raise ArtefactRefused(
            f"the artefact was trained with {_LIBRARY} {recorded}, this is {sklearn.__version__}; train it again here"
        )
