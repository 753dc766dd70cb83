"""`python -m iot_simulator`: stations in real time (`run`, the default), labelled `history`, `replay` of recordings."""

from __future__ import annotations

import argparse
import logging
import math
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from core.errors import SettingsError
from core.process import Command, run_command, serve_metrics, start, stop_on_signals
from core.settings import Settings
from iot_simulator.fault_plan import FaultPlan
from iot_simulator.fault_schedule import parse_fault, schedule
from iot_simulator.live import LiveStations, first_tick_after
from iot_simulator.metrics import PublisherMetrics, registry_of
from iot_simulator.process import StationProcess
from iot_simulator.publisher import Publisher
from iot_simulator.replica_slot import claim
from iot_simulator.units import milliseconds, parse_duration, parse_time

# Time left after a signal for what is in flight.
FLUSH_SECONDS = 20.0
# Options that have a setting behind them.
_SETTINGS = {
    "stations": "stations",
    "seed": "simulator_seed",
    "cadence": "cadence_seconds",
    "fault_rate": "fault_rate",
}
log = logging.getLogger("iot_simulator")


def _begin(options: argparse.Namespace) -> Settings:
    """Read the settings, and take from them what the command line leaves open."""
    # The client says every lost connection several times; what matters of it the publisher says once.
    settings = start(quiet={"kafka": logging.CRITICAL})
    for name, setting in _SETTINGS.items():
        if getattr(options, name, "") is None:
            setattr(options, name, getattr(settings, setting))
    return settings


def _run(options: argparse.Namespace) -> int:
    """Exit status DONE: everything sent was acknowledged."""
    settings = _begin(options)
    stop = stop_on_signals()
    slot = claim(options.slots, options.replicas, stop) if options.slots else None
    if options.slots and slot is None:
        return 0
    replica = slot.number if slot else options.replica
    first, after = _slice(options.stations, replica, options.replicas)
    process = _process(options, settings, range(first, after))
    faults = [parse_fault(text, settings.sensors, options.stations) for text in options.fault]
    ticks = None if options.duration is None else math.ceil(options.duration / options.cadence)
    publisher = Publisher(settings.kafka_client_options(), stop)
    if publisher.connect():
        tick = first_tick_after(time.time(), options.cadence)
        plan = FaultPlan(process, options.fault_rate, schedule(process, faults, tick))
        topics = {"readings_topic": settings.readings_topic, "labels_topic": settings.labels_topic}
        stations = LiveStations(process, plan, publisher, now=time.time, **topics)
        if settings.simulator_metrics_port:
            metrics = PublisherMetrics(publisher, list(topics.values()), lambda: stations.behind_seconds)
            log.info("metrics: %s", serve_metrics(registry_of(metrics), settings, "simulator_metrics_port"))
        stations.run(tick, ticks, stop)
    return _finish(publisher, settings)


def _replay(options: argparse.Namespace) -> int:
    settings = _begin(options)
    from iot_simulator.recorded import read_recorded
    from iot_simulator.replay import make_timetable, replay

    readings = read_recorded(options.file, settings.sensors)
    make_timetable(readings, time.time(), options.speed)
    stop = stop_on_signals()
    publisher = Publisher(settings.kafka_client_options(), stop)
    if publisher.connect():
        table = make_timetable(readings, time.time(), options.speed)
        replay(readings, table, publisher, settings.readings_topic, stop, time.time)
    return _finish(publisher, settings)


def _history(options: argparse.Namespace) -> int:
    settings = _begin(options)
    from iot_simulator.history import stretches, with_every_hour, write_history

    process = _process(options, settings, range(options.stations))
    span = options.days * 86_400.0
    start = time.time() - span if options.start is None else milliseconds(options.start) / 1000
    first, ticks = math.ceil(start / options.cadence), math.floor(span / options.cadence)
    if ticks < 1:
        raise SettingsError(
            f"--days {options.days} at a cadence of {options.cadence:g} s is no reading; take more days"
        )
    if (options.stretches is None) != (options.stretch_rows is None):
        raise SettingsError("--stretches and --stretch-rows go together; give both or neither")
    if options.hour_rows and not options.stretches:
        raise SettingsError("--hour-rows adds to --stretches; without them every hour is written as it is")
    parts = stretches(first, ticks, options.stretches, options.stretch_rows) if options.stretches else [(first, ticks)]
    if options.hour_rows:
        parts = with_every_hour(parts, first, ticks, options.hour_rows, options.cadence)
    faults = [parse_fault(text, settings.sensors, options.stations) for text in options.fault]
    plan = FaultPlan(process, options.fault_rate, schedule(process, faults, first))
    rows, labels = write_history(process, plan, parts, options.out, options.labels)
    print(f"{options.out}: readings={rows} faults={labels}")
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


def _process(options: argparse.Namespace, settings: Settings, stations: range) -> StationProcess:
    if options.cadence < 0.001:
        raise SettingsError(f"--cadence {options.cadence:g}: expected at least 0.001 s, the resolution of event times")
    return StationProcess(options.seed, stations, settings.sensors, options.cadence, options.flavour)


def _slice(stations: int, replica: int, replicas: int) -> tuple[int, int]:
    """Return the first station of a replica, and the first after it."""
    if not 0 <= replica < replicas:
        raise SettingsError(f"--replica {replica} --replicas {replicas}: expected a replica from 0 to {replicas - 1}")
    return replica * stations // replicas, (replica + 1) * stations // replicas


def _add_run(parser: argparse.ArgumentParser) -> None:
    _add_station_options(parser)
    parser.add_argument("--replica", type=int, default=0, help="which slice of the stations, from 0")
    parser.add_argument("--replicas", type=int, default=1, help="number of slices")
    parser.add_argument("--slots", type=Path, help="folder in which the replicas of one machine claim their slices")
    parser.add_argument("--duration", type=_duration, help="stop after this long, such as 10m; never if not given")


def _add_history(parser: argparse.ArgumentParser) -> None:
    _add_station_options(parser)
    _add_history_options(parser)


def _add_replay(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path)
    parser.add_argument("--speed", type=_speed, default=1.0, help="recorded seconds per second; max or 0: no pauses")


def _add_station_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--stations", type=_positive(int), help="stations of the plant; default: the setting")
    command.add_argument("--seed", type=int, help="of everything that is drawn; default: the setting")
    command.add_argument("--cadence", type=_duration, help="between two readings; default: the setting")
    command.add_argument("--flavour", choices=("plain", "hard"), default="plain")
    command.add_argument(
        "--fault-rate", type=_positive(float, zero=True), help="faults a station and hour; default: the setting"
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


COMMANDS = (
    Command("run", "stations in real time (the default)", _run, _add_run),
    Command("history", "write a labelled file of what stations would have sent", _history, _add_history),
    Command("replay", "publish a recorded CSV or Parquet file", _replay, _add_replay),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; `run` where none is named."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] not in (*(command.name for command in COMMANDS), "-h", "--help", "--version"):
        given.insert(0, "run")
    return run_command(COMMANDS, "python -m iot_simulator", __doc__, given)


if __name__ == "__main__":
    sys.exit(main())
