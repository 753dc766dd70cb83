"""Judges readings beside the stream, with the bytes of the model version that the stream uses."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from api.http.limits import time_stopped
from api.http.problems import refuse
from api.representations.anomalies import Judged, ShapValue, SmallestChange
from api.representations.predictions import Verdict
from core.errors import ArtefactRefused, NotFound, StateRefused
from core.sensors import Sensor
from core.settings import Settings
from core.verdict import Flag
from storage.driver.session import Store
from storage.tables import artefacts, stream_progress
from storage.tables.anomalies import AnomalyRow
from storage.tables.statistics import statistics_of

if TYPE_CHECKING:
    from models.explanation.replay import Replayed
    from models.scoring.artefact import LoadedArtefact
    from models.scoring.detector import Detector
    from models.scoring.feature_block import Blocks
    from models.scoring.shard_state import Incoming
    from models.scoring.station_prior import Prior

# What needs scikit-learn and numba is imported where it is used: an API that nobody asks to judge starts in half the
# time and memory.

LOADED = 3
"""Versions kept ready: the champion, the one before it, and one that a replay asks for."""

# A reading that is only asked about is none of the station's: no stored one has this seq.
_ASKED_SEQ = -(2**62)


@dataclass(frozen=True)
class Version:
    """A model version that is ready to judge."""

    number: int
    detector: Detector
    prior: Prior


class ScoreRequest(NamedTuple):
    """A reading to judge: values in the catalogue's order, NaN where missing; event_ms in ms since the epoch."""

    station_id: str | None
    event_ms: int
    values: tuple[float, ...]


class ScoringService:
    """Loads versions as they are needed and keeps the last few.

    Args:
        settings: of this process.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loaded: dict[str, LoadedArtefact] = {}
        self._loading = threading.Lock()
        self._priors: dict[str, Prior] = {}

    @property
    def sensors(self) -> tuple[Sensor, ...]:
        """The catalogue."""
        return self._settings.sensors

    def champion(self, store: Store) -> Version:
        """The version that the stream judges with; before its first batch the newest one registered.

        Raises:
            HTTPError: 503; no version is registered.
            ArtefactRefused: its stored bytes are not those that were registered.
        """
        active = stream_progress.activations(store, self._settings.readings_topic)
        if active:
            return self.version(store, active[min(active)][-1][1])
        registered = artefacts.versions(store, self._settings.model_name)
        if not registered:
            raise refuse(503, "no-model", "No model version is registered yet.", {"Retry-After": "30"})
        return self.version(store, registered[-1].version)

    def version(self, store: Store, number: int) -> Version:
        """One registered version.

        Raises:
            NotFound: it was never registered here, or its bytes are gone.
            ArtefactRefused: its stored bytes are not those that were registered.
        """
        row = artefacts.version(store, self._settings.model_name, number)
        with time_stopped(), self._loading:
            loaded = self._loaded.pop(row.sha256, None) or _loaded(store, row.sha256)
            self._loaded[row.sha256] = loaded
            while len(self._loaded) > LOADED:
                del self._loaded[next(iter(self._loaded))]
        return Version(number, loaded.detector, self._prior(store) or loaded.prior)

    def judge_globally(self, version: Version, asked: Sequence[ScoreRequest]) -> list[Verdict]:
        """Judge each reading as the first of a station that nobody knows."""
        from models.scoring.shard_state import ShardState

        state = ShardState(self.sensors, version.prior)
        incoming = _incoming(asked, [str(number) for number in range(len(asked))])
        return self._shown(version.detector, state.take(incoming).blocks)

    def judge_own(self, store: Store, version: Version, asked: Sequence[ScoreRequest]) -> list[Verdict]:
        """Judge each reading as the next one of its station. Nothing is learnt from it.

        Raises:
            HTTPError: 404; a station has no statistics yet.
        """
        from models.scoring.feature_block import Blocks
        from models.scoring.shard_state import ShardState

        ids = dict.fromkeys(str(one.station_id) for one in asked)
        held = statistics_of(store, ids)
        for station_id in ids:
            if station_id not in held:
                raise _no_statistics(station_id)
        blocks = []
        for one in asked:
            try:
                state = ShardState.from_bytes(held[str(one.station_id)], self.sensors, version.prior)
            except StateRefused as error:
                raise _no_statistics(str(one.station_id)) from error
            blocks.append(state.take(_incoming([one], [str(one.station_id)])).blocks.rows)
        names = tuple(sensor.name for sensor in self.sensors)
        stations = [str(one.station_id) for one in asked]
        return self._shown(version.detector, Blocks(names, np.concatenate(blocks)), stations)

    def explain(self, store: Store, row: AnomalyRow) -> tuple[list[ShapValue], SmallestChange | None]:
        """Return the exact share of each sensor, and the smallest change that would have been normal, if there is one.

        Raises:
            HTTPError: 409; the block or the version that judged is no longer kept.
        """
        from models.explanation.counterfactual import smallest_change
        from models.explanation.shap_values import shap_values
        from models.scoring.feature_block import unpack_rows

        names = tuple(sensor.name for sensor in self.sensors)
        try:
            detector = self.version(store, row.model_version).detector
            blocks = unpack_rows([row.block or b""], names)
        except (NotFound, ArtefactRefused) as error:
            raise _not_kept("not-explainable", row) from error
        # Many sensors are sampled; asked twice, the answer is the same.
        values = shap_values(detector, blocks, rng=np.random.default_rng(0))[0].tolist()
        change = smallest_change(detector, blocks, self.sensors)[0]
        shares = [ShapValue(name, value) for name, value in zip(names, values, strict=True)]
        return shares, None if change is None else SmallestChange(*change)

    def replay(self, store: Store, row: AnomalyRow) -> Replayed:
        """Judge an anomaly again, from its stored block.

        Raises:
            HTTPError: 409; the block or the version that judged is no longer kept.
        """
        from models.explanation.replay import replay

        try:
            return replay(self.version(store, row.model_version).detector, row.block or b"", self.sensors)
        except (NotFound, ArtefactRefused) as error:
            raise _not_kept("not-replayable", row) from error

    def _shown(self, detector: Detector, blocks: Blocks, stations: list[str] | None = None) -> list[Verdict]:
        from models.explanation.verdict_document import verdict_documents

        verdicts = detector.judge(blocks, stations)
        documents = verdict_documents(detector, blocks, verdicts, self.sensors)
        return [
            _verdict(float(verdicts.score[row]), float(verdicts.severity[row]), int(verdicts.flags[row]), document)
            for row, document in enumerate(documents)
        ]

    def _prior(self, store: Store) -> Prior | None:
        """The prior of the stream, which its stations' statistics were begun with; None before its first start."""
        identity = stream_progress.stream_identity(store, self._settings.readings_topic)
        if identity is None:
            return None
        from models.scoring.station_prior import Prior

        if identity.prior_sha256 not in self._priors:
            data = artefacts.get_artefact(store, identity.prior_sha256)[1]
            self._priors[identity.prior_sha256] = Prior.from_bytes(data)
        return self._priors[identity.prior_sha256]


def _verdict(score: float, severity: float, flags: int, document: str | bytes) -> Verdict:
    judged = msgspec.structs.asdict(Judged.from_verdict(score, severity, flags, document))
    return Verdict(**judged, late=bool(flags & Flag.LATE))


def _loaded(store: Store, sha256: str) -> LoadedArtefact:
    data = artefacts.get_artefact(store, sha256)[1]
    # After the bytes are there: this takes seconds, and a request that took many asks Cassandra nothing more.
    from models.scoring.artefact import load

    return load(data, sha256)


def _not_kept(kind: str, row: AnomalyRow) -> Exception:
    said = f"Model version {row.model_version}, or this anomaly's block, is not kept in a form this release reads."
    return refuse(409, kind, said)


def _no_statistics(station_id: str) -> Exception:
    said = f'Station {station_id} has no statistics that this release reads; ask with "context": "global".'
    return refuse(404, "no-statistics", said)


def _incoming(asked: Sequence[ScoreRequest], station_ids: list[str]) -> Incoming:
    from models.scoring.shard_state import Incoming

    event_ms = np.array([one.event_ms for one in asked], np.int64)
    values = np.array([one.values for one in asked], np.float64).reshape(len(asked), -1)
    return Incoming(station_ids, event_ms, event_ms.copy(), np.full(len(asked), _ASKED_SEQ, np.int64), values)
