"""The drift check of the retrainer: the stored samples of the last hours against the champion's own training."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from core.sensors import Sensor
from core.settings import Settings
from models.drift.check import DriftLimits
from models.drift.check import check_drift as compare
from models.drift.reference import reference_of
from models.drift.report import DriftReport
from models.registry.registry import Registry, Version
from models.scoring import artefact
from models.training.sample_window import read_window
from storage.driver.session import Store
from storage.tables.drift_reports import DriftSummary, put_report


def limits_from(settings: Settings) -> DriftLimits:
    """Return what the settings say of drift."""
    return DriftLimits(
        window_ms=int(settings.drift_window_hours * 3_600_000),
        windows=settings.drift_windows,
        persistent=min(settings.drift_persistent, settings.drift_windows),
        least_rows=settings.drift_least_readings,
    )


@dataclass
class DriftCheck:
    """Checks the champion, whoever that is at the moment; its artefact is fetched once.

    Args:
        store: with the samples, and for the reports.
        registry: knows the champion.
        sensors: the stream's catalogue.
        limits: what counts as drift.
    """

    store: Store
    registry: Registry
    sensors: tuple[Sensor, ...]
    limits: DriftLimits
    _known: tuple[Version, artefact.LoadedArtefact] | None = field(default=None, repr=False)

    def check(self, now_ms: int) -> DriftReport | None:
        """Look at the windows before `now_ms` and store the report; None while there is no champion.

        The same moment again gives the same report.

        Raises:
            Retryable: Cassandra or MLflow is away; nothing was stored.
            ArtefactRefused: the champion's artefact cannot be used.
        """
        champion = self.registry.champion()
        if champion is None:
            return None
        loaded = self._loaded(champion)
        names = tuple(sensor.name for sensor in self.sensors)
        start_ms = now_ms - self.limits.windows * self.limits.window_ms
        report = compare(
            read_window(self.store, names, start_ms, now_ms).samples,
            reference_of(loaded.reference),
            loaded.detector,
            version=champion.number,
            now_ms=now_ms,
            limits=self.limits,
            rng=np.random.default_rng(now_ms),
        )
        summary = DriftSummary(now_ms, champion.number, report.summary().to_json())
        put_report(self.store, self.registry.model_name, summary, report.to_json().decode())
        return report

    def _loaded(self, champion: Version) -> artefact.LoadedArtefact:
        if self._known is None or self._known[0] != champion:
            self._known = champion, artefact.load(self.registry.fetch(champion), champion.sha256)
        return self._known[1]
