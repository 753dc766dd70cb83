"""The challenger that judges in the shadow: looked for in the background, verified, and broadcast for a batch.

It decides nothing, so whatever is wrong with it is a line in the log. Becoming champion is another question, asked by
`model_switch` on its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from pyspark import Broadcast, SparkContext

from core.errors import ArtefactRefused, NotFound
from models.registry.registry import Registry
from models.scoring import artefact
from spark_jobs.tasks.shadow_scoring import Shadow

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """A verified version: its number, its artefact's sha256 and its `Detector.to_bytes()`."""

    version: int
    sha256: str
    detector: bytes


class Challenger:
    """`look` is called by the background thread, the rest by the batch thread.

    Args:
        registry: opened when it is first asked.
        champion: the version that judges, None before there is one.
    """

    def __init__(self, registry: Callable[[], Registry], champion: Callable[[], int | None]) -> None:
        self._registry, self._champion = registry, champion
        self._found: Candidate | None = None
        self._refused: set[int] = set()
        self._broadcast: tuple[Candidate, Broadcast[bytes]] | None = None

    def look(self) -> None:
        """Look for a challenger. One that is refused is none, and the champion is not its own.

        Raises:
            Retryable: MLflow is away; nothing changed.
        """
        found = self._registry().challenger()
        if found is None or found.number in self._refused or found.number == self._champion():
            self._found = None
        elif self._found is None or self._found.version != found.number:
            try:
                loaded = artefact.load(self._registry().fetch(found), found.sha256)
            except (ArtefactRefused, NotFound) as error:
                self._found = None
                self._refused.add(found.number)
                log.warning("challenger %d is refused and does not judge in the shadow: %s", found.number, error)
                return
            loaded.detector.forest.warm_up()
            self._found = Candidate(found.number, found.sha256, loaded.detector.to_bytes())

    def verified(self, sha256: str) -> bytes | None:
        """Return the challenger as `Detector.to_bytes()` if this is its artefact: it has been opened already."""
        found = self._found
        return found.detector if found is not None and found.sha256 == sha256 else None

    def shadow(self, context: SparkContext, share: float) -> Shadow | None:
        """Return the challenger for the tasks of a batch, None while there is none.

        Args:
            context: for its broadcast.
            share: of readings that it judges, in [0, 1].
        """
        challenger = self._found
        if challenger is None or share <= 0.0:
            self._broadcast = None
            return None
        if self._broadcast is None or self._broadcast[0] is not challenger:
            self._broadcast = challenger, context.broadcast(challenger.detector)
            log.info("challenger %d judges %g of readings in the shadow", challenger.version, share)
        return Shadow(challenger.version, self._broadcast[1], share)

    def restarted(self) -> None:
        """Forget the broadcast of the last run of the query."""
        self._broadcast = None
