"""A small recorded run through the real pipeline: stations, Kafka, Spark, model, Cassandra, alarms.

The past, twelve minutes, is published at once and judged as fast as Spark goes. Its records carry the times at
which a broker would have stamped them. After that the stations go on by the clock until the run ends, so that an open
page moves. Nothing of what is stored is invented.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from kafka.admin import KafkaAdminClient

from core.settings import Settings
from iot_simulator.fault_schedule import ScheduledFault
from local_stack.downloads.jars import spark_kafka_jars
from local_stack.servers.stack import Endpoints, endpoints_settings
from local_stack.servers.topics import create_topics
from models.registry.registry import CHAMPION, Registry
from models.training.train_steps import fit, register
from storage.driver.migrations import apply_schema, read_migrations
from storage.driver.session import Store, StoreConfig, connect
from storage.tables import stream_progress
from storage.tables.alarms import AlarmRow, alarms_of_keys, open_keys
from storage.tables.anomalies import AnomalyRow
from storage.tables.anomaly_scan import by_station
from tests.browser.serving import now_ms, repeated
from tests.browser.simulated_plant import Sender, SimulatedPlant, Timetable
from tests.oracle.job import env_of
from tests.oracle.processes import Running, running

STATIONS, SECONDS = 16, 700
SILENT, SELDOM = 15, 14
"""A station that stops in the past, and one that begins late and sends every 20 s: it warms up for ten minutes."""

LONG_SECONDS = 1800
"""From the end of the past on, for which faults that go on are planned: longer than any run."""

TRAINED_SECONDS, TRAINED_AHEAD_SECONDS = 1000, 300
START_SECONDS = 300.0
SEND_PAUSE_SECONDS = 0.5


def fault(station: int, sensor: str, kind: str, ago: int, size: float, lasts: int) -> ScheduledFault:
    """A fault that begins `ago` seconds before the end of the past; `size` in the sensor's standard deviations."""
    return ScheduledFault(station, sensor, kind, SECONDS - ago, lasts, size)


def repeated_fault(station: int, sensor: str, kind: str, ago: int, size: float) -> list[ScheduledFault]:
    """Three of five readings are bent, from `ago` seconds before the end of the past on."""
    return [fault(station, sensor, kind, begin, size, 3) for begin in range(ago, -LONG_SECONDS, -5)]


IMPLAUSIBLE, STUCK, MISSING = 3, 6, 5
"""Stations whose faults a rule sees for as long as they last: their alarms stay open. The first one is critical."""

FAULTS = (
    fault(IMPLAUSIBLE, "humidity", "shift", 360, 20.0, 360 + LONG_SECONDS),
    fault(STUCK, "humidity", "stuck", 300, 1.0, 300 + LONG_SECONDS),
    fault(MISSING, "temperature", "dropout", 150, 1.0, 150 + LONG_SECONDS),
    *repeated_fault(9, "noise", "spike", 120, 7.0),
    *repeated_fault(10, "humidity", "dip", 120, 4.0),
    fault(11, "noise", "noise_burst", 240, 12.0, 240),
    fault(13, "humidity", "shift", 360, 12.0, 360),
    fault(7, "temperature", "shift", 520, 14.0, 120),
    fault(8, "temperature", "noise_burst", 540, 6.0, 60),
    fault(8, "humidity", "dip", 300, 22.0, 2),
)


@dataclass
class RecordedRun:
    """A run that goes on.

    Args:
        settings: of all its processes.
        store: its keyspace.
        plant: the stations.
        stream, alarms: the processes.
    """

    settings: Settings
    store: Store
    plant: SimulatedPlant
    stream: Running
    alarms: Running
    _sent: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @cached_property
    def registry(self) -> Registry:
        """The versions of the model."""
        return Registry(self.settings.tracking_uri, self.settings.model_name)

    def add_fault(self, station: int, sensor: str, kind: str, size: float, lasts: int) -> None:
        """Let a fault begin with the station's next reading; `size` in standard deviations, `lasts` in seconds."""
        with self._lock:
            self.plant.add_fault(ScheduledFault(station, sensor, kind, self._sent, lasts, size))

    def send(self, sender: Sender) -> None:
        """Publish what the stations measured since the last time."""
        with self._lock:
            end = self.plant.second_of(now_ms())
            if end > self._sent:
                sender.send(self.plant, self._sent, end)
                self._sent = end

    def stored(self) -> int:
        """How many readings are stored completely."""
        known = stream_progress.progress(self.store, self.settings.readings_topic)
        return sum(held.complete_to or 0 for held in known.partitions.values())

    def anomalies(self, stations: Iterable[str] | None = None) -> list[AnomalyRow]:
        """The abnormal readings of some stations, or of all, without their blocks, newest first."""
        end_ms = now_ms()
        names = self.plant.ids if stations is None else stations
        return [row for name in names for row in by_station(self.store, name, self.plant.begin_ms, end_ms)]

    def open_alarms(self) -> dict[str, AlarmRow]:
        """Station → its alarm that people are told of and that is not over."""
        rows = alarms_of_keys(self.store, open_keys(self.store))
        return {row.station_id: row for row in rows if row.closed_ms is None and row.notified_ms is not None}


def run_settings(endpoints: Endpoints, home: Path) -> Settings:
    """Settings of a run: tables and topics of its own, a small forest, many samples, a challenger that judges all."""
    mark = uuid.uuid4().hex[:10]
    settings = Settings(
        _env_file=None, home=home, cassandra_keyspace=f"recorded_{mark}", readings_topic=f"readings-{mark}",
        rejected_topic=f"readings-{mark}.rejected", labels_topic=f"fault-labels-{mark}", forest_trees=50,
        feature_samples_per_minute=2000, shadow_share=1.0, champion_poll_seconds=1.0, trigger_seconds=3.0,
        drift_window_hours=0.1, retrain_window_hours=2.0, retrain_pause_seconds=0.0,
        station_groups={"hall-a": "station-000*", "hall-b": "station-00*"},
        stream_metrics_port=0, alarms_metrics_port=0, retrainer_metrics_port=0, api_port=0,
    )  # fmt: skip
    jars = ",".join(map(str, spark_kafka_jars(settings.cache)))
    return endpoints_settings(settings.model_copy(update={"spark_jars": jars}), endpoints)


@contextmanager
def recorded_run(settings: Settings, stations: int = STATIONS) -> Iterator[RecordedRun]:
    """A run whose past is stored and whose alarms are open, until the end of the block."""
    timetables = {SILENT: Timetable(end=SECONDS - 480), SELDOM: Timetable(begin=SECONDS - 200, every=20)}
    plant = SimulatedPlant(stations, SECONDS, now_ms(), FAULTS, timetables)
    _create_topics(settings)
    with ThreadPoolExecutor(1) as beside, ExitStack() as ending:
        training = beside.submit(_train, settings, plant)
        apply_schema(StoreConfig.from_settings(settings), read_migrations(), now_ms())
        stream, alarms = (
            ending.enter_context(running(name, ["-m", module], env_of(settings), settings.home / f"{name}.log"))
            for name, module in (("stream", "spark_jobs.detect_anomalies"), ("alarms", "alarms"))
        )
        store = connect(StoreConfig.from_settings(settings))
        ending.callback(store.close)
        recorded = RecordedRun(settings, store, plant, stream, alarms)
        ending.enter_context(_sending(recorded))
        recorded.registry = training.result()
        past = plant.count(0, SECONDS)
        stream.wait_until("stored past", lambda: recorded.stored() >= past, START_SECONDS)
        lasting = {plant.ids[index] for index in (IMPLAUSIBLE, STUCK, MISSING)}
        alarms.wait_until("open alarms", lambda: lasting <= recorded.open_alarms().keys(), START_SECONDS)
        yield recorded


def _train(settings: Settings, plant: SimulatedPlant) -> Registry:
    """Fit the first version on the day before and make it champion; return the registry that knows it."""
    registry = Registry(settings.tracking_uri, settings.model_name)
    history = plant.healthy_day_before(TRAINED_SECONDS, TRAINED_AHEAD_SECONDS)
    training = fit(history, settings.sensors, trees=settings.forest_trees, budget=settings.false_alarm_budget, seed=1)
    register(registry, training, alias=CHAMPION)
    return registry


def _create_topics(settings: Settings) -> None:
    """Create the topics; records of the readings keep the time that the producer gives them: the past is the past's."""
    admin = KafkaAdminClient(**settings.kafka_client_options())
    config = {"message.timestamp.type": "CreateTime"}
    try:
        admin.create_topics({settings.readings_topic: {"num_partitions": settings.topic_partitions, "configs": config}})
    finally:
        admin.close()
    create_topics(settings)


@contextmanager
def _sending(recorded: RecordedRun) -> Iterator[None]:
    """Publish in the background: the past at once, then by the clock; what goes wrong is raised at the end."""
    sender = Sender(recorded.settings.kafka_client_options(), recorded.settings.readings_topic)
    try:
        with repeated(lambda: recorded.send(sender), SEND_PAUSE_SECONDS):
            yield
    finally:
        sender.close()
