"""`python -m spark_jobs.plant_levels`: look at the newest readings every 15 s and serve their levels to Prometheus."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time

from prometheus_client import start_http_server

from core.errors import BrokerRefused, BrokerUnavailable
from core.settings import Settings, settings_or_exit
from spark_jobs.plant_levels.levels import levels_of
from spark_jobs.plant_levels.metrics import LevelMetrics
from spark_jobs.plant_levels.sample import KafkaTail

INTERVAL_SECONDS = 15.0
# A station that sends once a minute is in each look.
SINCE_SECONDS = 90.0
log = logging.getLogger("stationwatch.levels")


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    settings = settings_or_exit()
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    metrics = LevelMetrics()
    server, _ = start_http_server(settings.levels_metrics_port, addr=settings.metrics_host, registry=metrics.registry)
    print(f"levels: http://{settings.metrics_host}:{server.server_port}/metrics", flush=True)
    try:
        watch(settings, metrics, stop)
    except BrokerRefused as error:
        log.error("%s", error)
        return 1
    return 0


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
