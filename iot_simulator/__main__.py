"""`python -m iot_simulator`: stations in real time (`run`, the default), labelled `history`, `replay` of recordings."""

from __future__ import annotations

import argparse
import logging
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from core.errors import BrokerRefused, SettingsError
from core.settings import Settings, settings_or_exit
from iot_simulator.fault_plan import FaultPlan
from iot_simulator.fault_schedule import parse_fault, schedule
from iot_simulator.live import LiveStations, first_tick_after
from iot_simulator.metrics import PublisherMetrics, serve
from iot_simulator.process import StationProcess
from iot_simulator.publisher import Publisher
from iot_simulator.replica_slot import claim
from iot_simulator.units import milliseconds, parse_duration, parse_time

# Time left after a signal for what is in flight.
FLUSH_SECONDS = 20.0
_COMMANDS = ("run", "history", "replay")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Exit status 0: everything sent was acknowledged; 1: not so; 2: the command cannot be done."""
    settings = settings_or_exit()
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] not in (*_COMMANDS, "-h", "--help"):
        given.insert(0, "run")
    chosen = _parser(settings).parse_args(given)
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # The client says every lost connection several times; what matters of it the publisher says once.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    try:
        return {"run": _run, "history": _history, "replay": _replay}[chosen.command](chosen, settings)
    except SettingsError as error:
        print(f"iot_simulator: {error}", file=sys.stderr)
        return 2
    except BrokerRefused as error:
        print(f"iot_simulator: {error}", file=sys.stderr)
        return 1


def _run(chosen: argparse.Namespace, settings: Settings) -> int:
    stop = _stop_on_signals()
    slot = claim(chosen.slots, chosen.replicas, stop) if chosen.slots else None
    if chosen.slots and slot is None:
        return 0
    replica = slot.number if slot else chosen.replica
    first, after = _slice(chosen.stations, replica, chosen.replicas)
    process = _process(chosen, settings, range(first, after))
    faults = [parse_fault(text, settings.sensors, chosen.stations) for text in chosen.fault]
    ticks = None if chosen.duration is None else math.ceil(chosen.duration / chosen.cadence)
    publisher = Publisher(settings.kafka_client_options(), stop)
    if publisher.connect():
        tick = first_tick_after(time.time(), chosen.cadence)
        plan = FaultPlan(process, chosen.fault_rate, schedule(process, faults, tick))
        topics = {"readings_topic": settings.readings_topic, "labels_topic": settings.labels_topic}
        stations = LiveStations(process, plan, publisher, now=time.time, **topics)
        if settings.simulator_metrics_port:
            metrics = PublisherMetrics(publisher, list(topics.values()), lambda: stations.behind_seconds)
            logging.info("metrics: %s", serve(settings.metrics_host, settings.simulator_metrics_port, metrics))
        stations.run(tick, ticks, stop)
    return _finish(publisher, settings)


def _replay(chosen: argparse.Namespace, settings: Settings) -> int:
    from iot_simulator.recorded import read_recorded
    from iot_simulator.replay import make_timetable, replay

    readings = read_recorded(chosen.file, settings.sensors)
    make_timetable(readings, time.time(), chosen.speed)
    stop = _stop_on_signals()
    publisher = Publisher(settings.kafka_client_options(), stop)
    if publisher.connect():
        table = make_timetable(readings, time.time(), chosen.speed)
        replay(readings, table, publisher, settings.readings_topic, stop, time.time)
    return _finish(publisher, settings)


def _history(chosen: argparse.Namespace, settings: Settings) -> int:
    from iot_simulator.history import stretches, with_every_hour, write_history

    process = _process(chosen, settings, range(chosen.stations))
    span = chosen.days * 86_400.0
    start = time.time() - span if chosen.start is None else milliseconds(chosen.start) / 1000
    first, ticks = math.ceil(start / chosen.cadence), math.floor(span / chosen.cadence)
    if ticks < 1:
        raise SettingsError(f"--days {chosen.days} at a cadence of {chosen.cadence:g} s is no reading; take more days")
    if (chosen.stretches is None) != (chosen.stretch_rows is None):
        raise SettingsError("--stretches and --stretch-rows go together; give both or neither")
    if chosen.hour_rows and not chosen.stretches:
        raise SettingsError("--hour-rows adds to --stretches; without them every hour is written as it is")
    parts = stretches(first, ticks, chosen.stretches, chosen.stretch_rows) if chosen.stretches else [(first, ticks)]
    if chosen.hour_rows:
        parts = with_every_hour(parts, first, ticks, chosen.hour_rows, chosen.cadence)
    faults = [parse_fault(text, settings.sensors, chosen.stations) for text in chosen.fault]
    plan = FaultPlan(process, chosen.fault_rate, schedule(process, faults, first))
    rows, labels = write_history(process, plan, parts, chosen.out, chosen.labels)
    print(f"{chosen.out}: readings={rows} faults={labels}")
    return 0


def _finish(publisher: Publisher, settings: Settings) -> int:
    """Flush, print what became of everything, and judge it."""
    try:
        publisher.close(FLUSH_SECONDS)
    except KeyboardInterrupt:
        print("not waiting for the broker: interrupted again", file=sys.stderr)
    labels, readings = publisher.counts(settings.labels_topic), publisher.counts(settings.readings_topic)
    print(f"labels: {labels}")
    print(readings, flush=True)
    return 0 if readings.sent == readings.acknowledged and labels.sent == labels.acknowledged else 1


def _stop_on_signals() -> threading.Event:
    """Return an event that SIGTERM or SIGINT sets; a second one interrupts."""
    stop = threading.Event()

    def handle(number: int, _: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    return stop


def _process(chosen: argparse.Namespace, settings: Settings, stations: range) -> StationProcess:
    if chosen.cadence < 0.001:
        raise SettingsError(f"--cadence {chosen.cadence:g}: expected at least 0.001 s, the resolution of event times")
    return StationProcess(chosen.seed, stations, settings.sensors, chosen.cadence, chosen.flavour)


def _slice(stations: int, replica: int, replicas: int) -> tuple[int, int]:
    """Return the first station of a replica, and the first after it."""
    if not 0 <= replica < replicas:
        raise SettingsError(f"--replica {replica} --replicas {replicas}: expected a replica from 0 to {replicas - 1}")
    return replica * stations // replicas, (replica + 1) * stations // replicas


def _parser(settings: Settings) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m iot_simulator", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="stations in real time (the default)")
    history = commands.add_parser("history", help="write a labelled file of what stations would have sent")
    for command in (run, history):
        _add_station_options(command, settings)
    run.add_argument("--replica", type=int, default=0, help="which slice of the stations, from 0")
    run.add_argument("--replicas", type=int, default=1, help="number of slices")
    run.add_argument("--slots", type=Path, help="folder in which the replicas of one machine claim their slices")
    run.add_argument("--duration", type=_duration, help="stop after this long, such as 10m; never if not given")
    _add_history_options(history)
    again = commands.add_parser("replay", help="publish a recorded CSV or Parquet file")
    again.add_argument("file", type=Path)
    again.add_argument("--speed", type=_speed, default=1.0, help="recorded seconds per second; max or 0: no pauses")
    return parser


def _add_station_options(command: argparse.ArgumentParser, settings: Settings) -> None:
    command.add_argument("--stations", type=_positive(int), default=settings.stations, help="stations of the plant")
    command.add_argument("--seed", type=int, default=settings.simulator_seed)
    command.add_argument("--cadence", type=_duration, default=settings.cadence_seconds, help="between two readings")
    command.add_argument("--flavour", choices=("plain", "hard"), default="plain")
    command.add_argument(
        "--fault-rate", type=_positive(float, zero=True), default=settings.fault_rate, help="faults a station and hour"
    )
    command.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="STATION:SENSOR:KIND:+OFFSET:DURATION:MAGNITUDE",
        help="one fault, such as station-0007:temperature:spike:+20s:10s:10; may be given many times",
    )


def _add_history_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--out", type=Path, required=True, help="file to write, .parquet or .csv")
    command.add_argument("--labels", type=Path, help="CSV of the injected faults to write")
    command.add_argument("--days", type=_positive(float), default=1.0)
    command.add_argument("--start", type=_time, help="RFC 3339; if not given, so that the history ends now")
    command.add_argument("--stretches", type=_positive(int), help="write only this many stretches of the span")
    command.add_argument("--stretch-rows", type=_positive(int), help="readings of a station in a stretch")
    command.add_argument(
        "--hour-rows",
        type=_positive(int),
        help="readings of a station in each hour of the day, where stretches have fewer",
    )


def _refusing(parse: Callable[[str], Any], text: str) -> Any:
    try:
        return parse(text)
    except (SettingsError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _duration(text: str) -> float:
    return _refusing(parse_duration, text)


def _time(text: str) -> datetime:
    return _refusing(parse_time, text)


def _speed(text: str) -> float:
    speed = math.inf if text in ("max", "0") else _refusing(float, text)
    if not speed > 0:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a factor above 0, or max")
    return speed


def _positive(kind: Callable[[str], Any], *, zero: bool = False) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        value = _refusing(kind, text)
        if not (value > 0 or zero and value == 0) or value == math.inf:
            raise argparse.ArgumentTypeError(f"{text!r}: expected a number {'from 0 on' if zero else 'above 0'}")
        return value

    return parse


if __name__ == "__main__":
    raise SystemExit(main())
