"""Which version judges: the stream's identity and prior, the activations, and the champion that is swapped in.

All of it is data in Cassandra, written ahead of the batch it applies to. MLflow is asked for the champion's alias by a
background thread only; with MLflow away the stream goes on with what it has.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import msgspec
from pyspark import Broadcast, SparkContext

from core.errors import ArtefactRefused, NotFound, Retryable, StationwatchError, StreamIdentityMismatch
from core.sensors import Sensor
from models.registry.registry import CHAMPION, Registry, Version
from models.scoring import artefact
from models.scoring.station_prior import Prior
from spark_jobs.driver.challenger import Candidate, Challenger
from spark_jobs.tasks.activations import Activations, Offsets
from storage.driver.session import Store
from storage.tables import artefacts, stream_progress
from storage.tables.model_events import REFUSED, ModelEvent, aliases_of, put_event

log = logging.getLogger(__name__)

TOLD_SECONDS = 0.5
"""Between two looks at what the retrainer writes when it moves an alias: a promotion is felt within two batches."""


class Judging:
    """The driver's side of judging. `prepare` is called by the batch thread, `look` by the background thread."""

    def __init__(self, store: Store, open_registry: Callable[[], Registry], *, topic: str, model_name: str) -> None:
        self._store = store
        self._open_registry = open_registry
        self._opened: Registry | None = None
        self._topic = topic
        self._model_name = model_name
        self._read()
        self._detectors: dict[int, bytes] = {}
        self._verified: dict[str, bytes] = {}
        self._broadcast: dict[int, Broadcast[bytes]] = {}
        self._behind: Offsets = {}
        self._candidate: Candidate | None = None
        self._refused: set[int] = set()
        self._told: int | None = None
        self._lock = threading.Lock()
        self.challenger = Challenger(lambda: self._registry, lambda: self._activations.newest())

    @property
    def _registry(self) -> Registry:
        """Opened when it is first asked: a stream that was activated before needs none to start.

        Raises:
            RegistryUnavailable: MLflow is away.
        """
        self._opened = self._opened or self._open_registry()
        return self._opened

    def _read(self) -> None:
        """Read who judges what, and how far was ever begun."""
        self._activations = Activations(stream_progress.activations(self._store, self._topic))
        progress = stream_progress.progress(self._store, self._topic)
        self._started: Offsets = {p: row.started_to or 0 for p, row in progress.partitions.items()}
        self._stale = False

    def identify(
        self, sensors: tuple[Sensor, ...], shards: int, budget: float, wait: Callable[[Exception], None]
    ) -> Prior:
        """Return the stream's prior; the first start of a keyspace takes the champion's and writes it down.

        Args:
            sensors: of the settings.
            shards: of the settings.
            budget: of the settings.
            wait: called while there is no champion yet, to pause.

        Raises:
            StreamIdentityMismatch: the keyspace belongs to a stream with other shards.
        """
        known = stream_progress.stream_identity(self._store, self._topic)
        if known is None or self._activations.newest() is None:
            champion = self._first_champion(wait)
            prior = self._open(self._registry.fetch(champion), champion.sha256).prior
            prior_sha256 = artefacts.put_artefact(self._store, "prior", prior.to_bytes())
            known = stream_progress.claim_identity(
                self._store,
                stream_progress.StreamIdentity(self._topic, _as_json(sensors), shards, budget, prior_sha256, _now_ms()),
            )
            self._candidate = self._candidate_of(champion)
        if known.shards != shards:
            raise StreamIdentityMismatch(
                f"keyspace {self._store.config.keyspace} holds a stream of {known.shards} shards, set is {shards}: set "
                f"STATIONWATCH_SHARDS={known.shards}, or another STATIONWATCH_CASSANDRA_KEYSPACE"
            )
        names = [sensor["name"] for sensor in json.loads(known.sensors)]
        if names != [sensor.name for sensor in sensors]:
            log.warning(
                "the stream was begun with sensors %s, set are %s: a removed one is dropped, an added one is judged by "
                "rules until a model knows it; a replay from the beginning judges with today's sensors",
                ", ".join(names),
                ", ".join(sensor.name for sensor in sensors),
            )
        _, data = artefacts.get_artefact(self._store, known.prior_sha256)
        return Prior.from_bytes(data)

    def prepare(self, context: SparkContext, ends: Offsets) -> tuple[Activations, dict[int, Broadcast[bytes]]]:
        """Fix, before a batch, who judges its offsets; swap a waiting candidate in at this boundary.

        Args:
            context: for broadcasts.
            ends: first offset behind the batch, by partition.

        Returns:
            The activations and the broadcast detectors that the batch needs.
        """
        if self._stale:
            self._read()
        with self._lock:
            candidate = self._candidate
        newest = self._activations.newest()
        if candidate is not None and candidate.version != newest:
            # Offsets that were ever begun stay with the version that may already have written rows for them.
            self._activate(
                {partition: self._started.get(partition, 0) for partition in {*ends, *self._started}}, candidate.version
            )
            self._detectors[candidate.version] = candidate.detector
            with self._lock:
                self._candidate = None if self._candidate is candidate else self._candidate
            log.info("model version %d judges from here on (was %s)", candidate.version, newest)
        fresh = {partition: 0 for partition in ends if partition not in self._activations.by_partition}
        if fresh:
            version = self._activations.newest()
            if version is None:
                raise NotFound("no model version was ever activated")
            self._activate(fresh, version)
        stream_progress.mark_started(self._store, self._topic, ends)
        self._started |= {partition: max(end, self._started.get(partition, 0)) for partition, end in ends.items()}
        needed = self._activations.needed(self._behind, ends)
        return self._activations, {version: self._broadcasted(context, version) for version in needed}

    def completed(self, ends: Offsets) -> int:
        """Note, after a batch, that it is stored; return the version that judged its last readings."""
        version = self._activations.newest()
        if version is None:
            raise NotFound("no model version was ever activated")
        moved = {partition: end for partition, end in ends.items() if end != self._behind.get(partition)}
        stream_progress.mark_complete(self._store, self._topic, moved, version)
        self._behind = ends
        return version

    def restarted(self) -> None:
        """Forget what the last run of the query held: its first batch begins anywhere, an answer may be lost."""
        self._behind = {}
        for broadcast in self._broadcast.values():
            broadcast.unpersist()
        self._broadcast = {}
        self.challenger.restarted()
        self._stale = True

    def told(self) -> bool:
        """Whether the retrainer has written down another champion since this was asked last; one small read.

        Raises:
            StoreUnavailable: Cassandra is away.
        """
        before, self._told = self._told, aliases_of(self._store, self._model_name).get(CHAMPION)
        return self._told not in (before, self._activations.newest())

    def look(self, on_refused: Callable[[int, Exception], None]) -> None:
        """Look for another champion; verify it and let it wait for the next batch.

        Args:
            on_refused: told about an artefact that cannot be used; the old model stays.

        Raises:
            Retryable: MLflow or Cassandra is away; nothing changed.
        """
        champion = self._registry.champion()
        if champion is None or champion.number in self._refused:
            return
        with self._lock:
            if champion.number == self._activations.newest():
                self._candidate = None  # rolled back before it was swapped in
                return
            if self._candidate and champion.number == self._candidate.version:
                return
        try:
            candidate = self._candidate_of(champion)
        except (ArtefactRefused, NotFound) as error:
            self._refused.add(champion.number)
            on_refused(champion.number, error)
            self._audit(champion.number, error)
            return
        with self._lock:
            self._candidate = candidate

    def _audit(self, version: int, error: Exception) -> None:
        """Write down why a version that was to judge does not."""
        now_ms = _now_ms()
        reason = f"The stream refuses version {version} and goes on with {self._activations.newest()}: {error}"
        event = ModelEvent(
            f"{now_ms:013d}-stream/{version}", now_ms, REFUSED, version, None, reason, "{}", "the stream"
        )
        put_event(self._store, self._model_name, event)

    def _candidate_of(self, version: Version) -> Candidate:
        """Bring a version's artefact from the registry into Cassandra, verified, and open it unless it was opened.

        Raises:
            ArtefactRefused: other bytes than were registered, or what cannot be used; nothing was stored.
        """
        data = self._registry.fetch(version)
        # The same bytes by their hash: opening a thousand trees takes longer than all the rest of a swap.
        detector = self._verified.get(version.sha256) or self.challenger.verified(version.sha256)
        if detector is None:
            self._open(data, version.sha256)
        else:
            self._verified[version.sha256] = detector
        artefacts.put_artefact(self._store, "detector", data)
        artefacts.put_version(self._store, self._model_name, version.number, version.sha256, version.run_id, _now_ms())
        return Candidate(version.number, version.sha256, self._verified[version.sha256])

    def _open(self, data: bytes, sha256: str) -> artefact.LoadedArtefact:
        """Open an artefact and keep its detector for a swap to it, or back to it."""
        loaded = artefact.load(data, sha256)
        # Fills the cache of compiled code that the workers of this machine load from.
        loaded.detector.forest.warm_up()
        self._verified[sha256] = loaded.detector.to_bytes()
        return loaded

    def _first_champion(self, wait: Callable[[Exception], None]) -> Version:
        while True:
            try:
                champion = self._registry.champion()
                if champion is not None:
                    return champion
                wait(NotFound(f"model {self._model_name} has no champion yet; run: python -m models.train"))
            except Retryable as error:
                wait(error)

    def _activate(self, from_offsets: Offsets, version: int) -> None:
        stored = stream_progress.activate(self._store, self._topic, from_offsets, version, _now_ms())
        self._activations = Activations(stored)

    def _broadcasted(self, context: SparkContext, version: int) -> Broadcast[bytes]:
        if version not in self._broadcast:
            if version not in self._detectors:
                self._detectors[version] = self._stored_detector(version)
            self._broadcast[version] = context.broadcast(self._detectors[version])
        return self._broadcast[version]

    def _stored_detector(self, version: int) -> bytes:
        row = artefacts.version(self._store, self._model_name, version)
        if row.sha256 not in self._verified:
            self._open(artefacts.get_artefact(self._store, row.sha256)[1], row.sha256)
        return self._verified[row.sha256]


def watch_champion(
    judging: Judging, pause_seconds: float, stop: threading.Event, on_refused: Callable[[int, Exception], None]
) -> None:
    """Look for another champion until stopped; a dependency that is away is asked again.

    MLflow is asked every `pause_seconds`, and at once when the retrainer says that the alias has moved.
    """
    next_look = time.monotonic() + pause_seconds
    while not stop.wait(min(TOLD_SECONDS, pause_seconds)):
        try:
            if not judging.told() and time.monotonic() < next_look:
                continue
            next_look = time.monotonic() + pause_seconds
            judging.look(on_refused)
            judging.challenger.look()
        except StationwatchError as error:
            log.warning("cannot look for a champion: %s", error)
        except Exception:
            log.exception("looking for a champion failed in a way nobody foresaw; it is tried again")


def _as_json(sensors: tuple[Sensor, ...]) -> str:
    plain: list[dict[str, Any]] = [asdict(sensor) for sensor in sensors]
    return msgspec.json.encode(plain).decode()


def _now_ms() -> int:
    return int(time.time() * 1000)
