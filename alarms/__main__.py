"""`python -m alarms`: follow the feed of anomalies and keep the alarms, until SIGTERM."""

from __future__ import annotations

import argparse
import logging
import sys
import threading
from functools import partial

from alarms.alarm_service import Keeper
from alarms.alertmanager import Alertmanager, Poster, wall_clock_ms
from alarms.folding import Policy
from alarms.group_scope import Scopes
from alarms.lease import FoldLease
from alarms.metrics import AlarmMetrics
from alarms.notifier import Telling
from core.errors import Retryable
from core.process import DONE, Command, run_command, serve_metrics, start, stop_on_signals
from core.settings import Settings
from core.station_groups import StationGroups
from core.times import DAY_MS, HOUR_MS
from storage.driver.retry import SchemaMissing
from storage.driver.session import Store, StoreConfig, connect
from storage.tables.alarms import AlarmRow

log = logging.getLogger("alarms")

PAUSE_SECONDS = 1.0
RETRY_SECONDS = 2.0
CONNECT_SECONDS = 10.0


def serve(options: argparse.Namespace) -> int:
    """Keep the alarms until SIGTERM or SIGINT."""
    settings, stopping = start(quiet={"cassandra": logging.CRITICAL}), stop_on_signals()
    metrics = AlarmMetrics()
    print(f"alarms: metrics at {serve_metrics(metrics.registry, settings, 'alarms_metrics_port')}", flush=True)
    poster = None
    if settings.alertmanager_url:
        poster = Poster(Alertmanager(settings.alertmanager_url), wall_clock_ms, metrics.failed)
        poster.start()
    else:
        log.info("no Alertmanager is set: alarms are kept and shown, and nobody is notified")
    try:
        Process(settings, metrics, poster, stopping).run()
    finally:
        if poster is not None:
            poster.close()
    return DONE


COMMAND = Command("alarms", "keep the alarms and notify Alertmanager", serve, description=__doc__)
main = partial(run_command, COMMAND, "python -m alarms", __doc__)


class Process:
    """Waits for Cassandra and for the lease, then keeps the alarms; again, whenever either is lost.

    Args:
        settings: of this process.
        metrics: served already.
        poster: to Alertmanager, or None.
        stopping: set to end it.
    """

    def __init__(
        self, settings: Settings, metrics: AlarmMetrics, poster: Poster | None, stopping: threading.Event
    ) -> None:
        self._settings, self._metrics, self._poster, self._stopping = settings, metrics, poster, stopping
        self._lease = FoldLease(settings.readings_topic)
        self._keeper: Keeper | None = None
        self._away = False

    def run(self) -> None:
        """Until `stopping` is set."""
        store: Store | None = None
        while not self._stopping.is_set():
            try:
                if store is None:
                    store = connect(StoreConfig.from_settings(self._settings), CONNECT_SECONDS)
                pause = self._turn(store)
                self._say_away(None)
            except (Retryable, SchemaMissing) as error:
                # What was folded and not stored is read again, from rows.
                self._keeper, pause = None, RETRY_SECONDS
                self._say_away(error)
            self._stopping.wait(pause)
        if store is not None:
            self._give_back(store)

    def _turn(self, store: Store) -> float:
        """One turn; returns the seconds to wait before the next one."""
        if not self._lease.mine(store):
            if self._keeper is not None:
                log.warning("another process folds the alarms of this keyspace; waiting")
            self._keeper = None
            return RETRY_SECONDS
        if self._keeper is None:
            self._keeper = self._begun(store)
            log.info("keeping %d open alarms", len(self._keeper.open))
        return 0.0 if self._keeper.turn() else PAUSE_SECONDS

    def _begun(self, store: Store) -> Keeper:
        settings = self._settings
        policy = Policy(settings.alarm_fired, settings.alarm_of, round(1000 * settings.alarm_quiet_seconds))
        telling = Telling(store, self._poster, self._metrics, self._link)
        # Kafka keeps nothing longer, hence no record time of what the stream still reads lies further back.
        kept_ms = settings.topic_retention_hours * HOUR_MS + DAY_MS
        return Keeper(
            store,
            settings.readings_topic,
            policy,
            Scopes(StationGroups(settings.station_groups)),
            telling,
            self._metrics,
            wall_clock_ms,
            settings.api_stale_seconds,
            kept_ms,
        )

    def _link(self, row: AlarmRow) -> str:
        return f"{self._settings.page_address}/stations/{row.station_id}"

    def _say_away(self, error: Exception | None) -> None:
        if error is not None and not self._away:
            log.warning("waiting: %s", error)
        if error is None and self._away:
            log.info("Cassandra answers again")
        self._away = error is not None

    def _give_back(self, store: Store) -> None:
        try:
            self._lease.give_back(store)
        except Retryable:
            log.info("the lease lapses by itself")
        store.close()


if __name__ == "__main__":
    sys.exit(main())
