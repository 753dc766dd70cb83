"""`python -m local_stack run`: servers, model, stream, stations and API as one thing, until Ctrl-C."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import NoReturn

from core.settings import PREFIX, Settings
from local_stack.downloads.jars import spark_kafka_jars
from local_stack.downloads.java import find_java
from local_stack.errors import StackError
from local_stack.servers.ports import HOST
from local_stack.servers.processes import STOP_SECONDS
from local_stack.servers.readiness import api_url, missing_for_ready
from local_stack.servers.stack import Stack, endpoints_env
from local_stack.supervisor.first_model import FirstModel, simulated_stations
from local_stack.supervisor.programs import Program
from local_stack.supervisor.restarts import Restarts
from local_stack.supervisor.run_folder import RunFolder
from local_stack.supervisor.targets import metrics_env, program_ports
from models.kernels.alarm_budget import episodes_per_day

READY_SECONDS = 180.0
_POLL_SECONDS = 0.25
_SAY_WAITING_SECONDS = 15.0
_HOUSEKEEPING_SECONDS = 5.0
_HURRIED_SECONDS = 5.0


def run(settings: Settings, say: Callable[[str], None]) -> int:
    """Start everything, watch it until a signal, stop everything.

    Returns:
        0 after a stop that was asked for.

    Raises:
        StationwatchError: it could not start; everything is stopped again.
    """
    folder = RunFolder(settings.home)
    with folder.taken(say):
        plant = Plant(settings, folder, _unfailing(say))
        plant.check()
        try:
            plant.start()
            plant.watch()
        except KeyboardInterrupt:
            return 0
        finally:
            plant.stop()


class Plant:
    """Everything that `run` runs.

    Args:
        settings: of the user; ports may be 0.
        folder: with the programs.
        say: takes one line of progress at a time.
    """

    def __init__(self, settings: Settings, folder: RunFolder, say: Callable[[str], None]) -> None:
        self._settings, self._say, self._programs = settings, say, folder.programs
        self._home = settings.home.resolve()
        self._stack = Stack(settings, say=say)
        self._cancelled = threading.Event()
        self._model = FirstModel(settings, self._programs, self._env_of_home(), self._cancelled)
        self._pool = ThreadPoolExecutor(2)
        self._env = self._env_of_home()
        self._watched: list[Restarts] = []
        self._begun = self._next_look = time.monotonic()
        self._ready = False

    def check(self) -> None:
        """Look at Java and at the ports of our own programs before anything is started, which takes a while.

        Raises:
            StackError: no Java 17, or a port is taken.
        """
        find_java()
        self._env |= program_ports(self._settings)

    def start(self) -> None:
        """Start what there is, in the order of what needs what, as far as possible side by side.

        Raises:
            StationwatchError: something did not start, with the last lines of its log.
        """
        self._say(f"starting in {self._home}, with logs in {self._home / 'logs'}")
        (self._home / "api.json").unlink(missing_ok=True)
        model = self._aside("model", self._model.make) if self._model.possible else None
        with self._timed("servers"):
            self._env |= endpoints_env(self._stack.up())
        self._tell_prometheus()
        self._env[f"{PREFIX}SPARK_JARS"] = ",".join(map(str, spark_kafka_jars(self._settings.cache)))
        schema = self._aside("schema", self._make_schema)
        self._start_program("api", ["-m", "api"])
        self._join("schema and registry", [schema], lambda: model is None or self._model.registry_open.is_set())
        # It opens Spark and then waits for the model, so that the two starts overlap.
        self._start_program("stream", ["-m", "spark_jobs.detect_anomalies"])
        self._start_program("alarms", ["-m", "alarms"])
        self._start_program("levels", ["-m", "spark_jobs.plant_levels"])
        self._join("model", [model] if model else [])
        # With the registry open and a champion in it: two that make its tables at once break each other.
        self._start_program("retrainer", ["-m", "models.retraining.retrainer"])
        self._start_stations()
        self._wait_ready()
        self._watched += [self._server_restarts(name) for name in self._stack.servers]

    def watch(self) -> NoReturn:
        """Start again what ends, until a signal raises KeyboardInterrupt."""
        while True:
            time.sleep(_POLL_SECONDS)
            for restarts in self._watched:
                restarts.look(time.monotonic(), self._say)
            if time.monotonic() > self._next_look:
                self._next_look = time.monotonic() + _HOUSEKEEPING_SECONDS
                self._keep_house()

    def stop(self) -> None:
        """Stop everything: first who sends, then who reads, last the servers. A second signal makes it quick."""
        with _signals_set(threading.Event()) as hurry:
            self._say("stopping (again to hurry)")
            self._cancelled.set()
            self._pool.shutdown(cancel_futures=True)
            for program in self._programs.values():
                if program.was_started():
                    self._stop_program(program, hurry)
            self._stack.down(_HURRIED_SECONDS if hurry.is_set() else STOP_SECONDS)
            self._say(f"nothing runs here any more; {self._home} keeps everything for the next start")

    def _stop_program(self, program: Program, hurry: threading.Event) -> None:
        if not program.stop(hurry):
            self._say(f"{program.name}: did not stop in time and was killed")
        if program.name == "stations":
            self._say(f"stations: {program.last_lines(1).splitlines()[-1]}")

    def _env_of_home(self) -> dict[str, str]:
        """What our programs are told in any case: where home is, and one false alarm a station and day."""
        settings = self._settings
        budget = settings.false_alarm_budget
        if "false_alarm_budget" not in settings.model_fields_set:
            budget = 1.0 / episodes_per_day(1.0, settings.cadence_seconds)
        return {f"{PREFIX}HOME": str(self._home), f"{PREFIX}FALSE_ALARM_BUDGET": repr(budget)}

    def _tell_prometheus(self) -> None:
        servers = {name: server.metrics_port for name, server in self._stack.servers.items()}
        self._env |= metrics_env(self._settings, self._env, self._home, servers)

    def _make_schema(self) -> None:
        self._programs["schema"].run(["-m", "storage", "schema"], dict(self._env), self._cancelled)

    def _start_stations(self) -> None:
        stations = simulated_stations(self._settings)
        if stations:
            self._start_program("stations", ["-m", "iot_simulator", "--stations", str(stations)])
        elif self._settings.kafka_bootstrap:
            topic = self._settings.readings_topic
            self._say(f"stations: your own, in topic {topic} ({PREFIX}STATIONS=25 simulates some beside them)")

    def _start_program(self, name: str, arguments: list[str]) -> None:
        program = self._programs[name]

        def start() -> None:
            program.start(arguments, self._env)

        def ended() -> str:
            text = program.ended()
            program.stop()  # what it had started itself
            return text

        start()
        self._watched.append(Restarts(name, lives=program.runs, start=start, ended=ended))

    def _server_restarts(self, name: str) -> Restarts:
        server = self._stack.servers[name]
        return Restarts(
            name,
            lives=lambda: server.process.find() is not None,
            start=lambda: self._stack.start(name),
            ended=lambda: f"{name} ended.\n{server.last_lines(10)}",
        )

    def _aside(self, what: str, task: Callable[[], None]) -> Future[None]:
        def timed() -> None:
            with self._timed(what):
                task()

        return self._pool.submit(timed)

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        begun = time.monotonic()
        yield
        self._say(f"{what}: {time.monotonic() - begun:.1f} s")

    def _join(self, what: str, tasks: list[Future[None]], enough: Callable[[], bool] = lambda: True) -> None:
        for _ in self._waiting(what):
            if (
                any(task.done() and task.exception() for task in tasks)
                or all(task.done() for task in tasks)
                and enough()
            ):
                break
            self._refuse_dead()
        for task in tasks:
            if task.done():
                task.result()

    def _wait_ready(self) -> None:
        begun = time.monotonic()
        missing: dict[str, str] = {"api": "has no address yet"}
        for seconds in self._waiting("stream"):
            self._refuse_dead()
            url = api_url(self._home)
            missing = missing_for_ready(url) if url else missing
            if not missing or seconds > READY_SECONDS or ("model" in missing and not self._model.possible):
                break
        if not missing:
            self._say(f"stream: {time.monotonic() - begun:.1f} s")
        self._announce(missing)

    def _waiting(self, what: str) -> Iterator[float]:
        """Yield the seconds waited, a few times a second, and say now and then that it goes on."""
        begun = said = time.monotonic()
        while True:
            now = time.monotonic()
            if now - said > _SAY_WAITING_SECONDS:
                said = now
                self._say(f"waiting for {what}, {now - begun:.0f} s so far")
            yield now - begun
            time.sleep(_POLL_SECONDS)

    def _refuse_dead(self) -> None:
        for one in self._watched:
            if not one.lives():
                raise StackError(one.ended())

    def _announce(self, missing: dict[str, str]) -> None:
        after = f"after {time.monotonic() - self._begun:.1f} s"
        self._ready = not missing
        if self._ready:
            self._say(f"ready {after}")
        else:
            self._say(f"not ready {after}: " + "; ".join(f"{name}: {detail}" for name, detail in missing.items()))
        if "model" in missing and not self._model.possible:
            self._say(
                f"there is nothing to learn a model from: set {PREFIX}TRAINING_READINGS, or in another terminal "
                "python -m models.train --readings FILE; the stream waits for it"
            )
        self._say(
            f"logs: {self._home / 'logs'}   metrics: http://{HOST}:{self._env[f'{PREFIX}STREAM_METRICS_PORT']}/metrics"
        )
        self._say("stop: Ctrl-C here, or `make down` in another terminal")
        self._say(f"page: {api_url(self._home)}/")

    def _keep_house(self) -> None:
        for program in self._programs.values():
            program.bound_log()
        if not self._ready and not missing_for_ready(api_url(self._home)):
            self._ready = True
            self._say(f"ready after {time.monotonic() - self._begun:.1f} s")


def _unfailing(say: Callable[[str], None]) -> Callable[[str], None]:
    """Go on when nobody reads any more: a closed terminal must not keep `run` from stopping what it started."""

    def say_if_heard(line: str) -> None:
        with suppress(OSError):
            say(line)

    return say_if_heard


@contextmanager
def _signals_set(event: threading.Event) -> Iterator[threading.Event]:
    """Let signals set an event, instead of cutting short what must be done to the end."""
    watched = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: event.set()) for number in watched}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
