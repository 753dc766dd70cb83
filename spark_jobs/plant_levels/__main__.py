"""`python -m spark_jobs.plant_levels`: look at the newest readings every 15 s and serve their levels to Prometheus."""

from __future__ import annotations

import argparse
import logging
import sys
import threading
import time
from functools import partial

from core.errors import BrokerUnavailable
from core.process import DONE, Command, run_command, serve_metrics, start, stop_on_signals
from core.settings import Settings
from spark_jobs.plant_levels.levels import levels_of
from spark_jobs.plant_levels.metrics import LevelMetrics
from spark_jobs.plant_levels.sample import KafkaTail

INTERVAL_SECONDS = 15.0
# A station that sends once a minute is in each look.
SINCE_SECONDS = 90.0
log = logging.getLogger("stationwatch.levels")


def serve(options: argparse.Namespace) -> int:
    """Serve the levels until SIGTERM or SIGINT."""
    settings, stopping = start(quiet={"kafka": logging.CRITICAL}), stop_on_signals()
    metrics = LevelMetrics()
    print(f"levels: {serve_metrics(metrics.registry, settings, 'levels_metrics_port')}", flush=True)
    watch(settings, metrics, stopping)
    return DONE


COMMAND = Command("levels", "serve the plant's levels to Prometheus, without Spark", serve, description=__doc__)
main = partial(run_command, COMMAND, "python -m spark_jobs.plant_levels", __doc__)


def watch(settings: Settings, metrics: LevelMetrics, stop: threading.Event) -> None:
    """Look again and again until `stop` is set; a broker that is away is waited for."""
    tail: KafkaTail | None = None
    while not stop.is_set():
        try:
            tail = tail or KafkaTail(settings.kafka_client_options(), settings.readings_topic)
            records = tail.take(int((time.time() - SINCE_SECONDS) * 1000))
            metrics.show(levels_of(records, settings.sensors))
        except BrokerUnavailable as error:
            metrics.failed()
            log.warning("no look at the readings: %s; again in %.0f s", error, INTERVAL_SECONDS)
            if tail is not None:
                tail.close()
                tail = None
        stop.wait(INTERVAL_SECONDS)
    if tail is not None:
        tail.close()


if __name__ == "__main__":
    sys.exit(main())
