"""The parts of `run`: programs that end, restart and leave nothing behind; what is simulated and learnt from."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from core.errors import StationwatchError
from core.settings import Settings
from local_stack.errors import StackError
from local_stack.supervisor.first_model import FirstModel, simulated_stations
from local_stack.supervisor.programs import Program
from local_stack.supervisor.restarts import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, STEADY_SECONDS, Restarts
from local_stack.supervisor.run import run
from local_stack.supervisor.run_folder import RunFolder
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(300)
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
# A child that ignores TERM, as a hung JVM would, and a parent that ends at once when told.
WITH_CHILD = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {DEAF!r}]); time.sleep(60)"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[RunFolder]:
    """A home in which programs may run; nothing of them is left at the end."""
    for name in ("run", "logs"):
        (tmp_path / name).mkdir()
    mine = RunFolder(tmp_path)
    yield mine
    for program in mine.programs.values():
        program.stop_seconds = 0.0
        program.stop()


def logged(program: Program) -> str:
    return program.log.read_text() if program.log.exists() else ""


def test_a_command_that_fails_says_why(folder: RunFolder) -> None:
    """Breaks when a failed training looks like a model, or hides its reason in a log."""
    train = folder.programs["train"]
    with pytest.raises(StackError, match=r"(?s)train ended with exit status 3.*no readings in it"):
        train.run(["-c", "print('no readings in it'); raise SystemExit(3)"], {}, threading.Event())
    train.run(["-c", "import os; print(os.environ['WHICH'])"], {"WHICH": "second"}, threading.Event())
    assert logged(train) == "second\n"
    assert "no readings" in train.log.with_name("train.previous.log").read_text()


def test_a_cancelled_command_is_stopped(folder: RunFolder) -> None:
    """Breaks when Ctrl-C during the training waits for its end, or leaves it running."""
    cancelled = threading.Event()
    threading.Timer(0.3, cancelled.set).start()
    with pytest.raises(StackError, match="cut short"):
        folder.programs["train"].run(["-c", "import time; time.sleep(60)"], {}, cancelled)
    assert not folder.programs["train"].runs()


def test_stopping_takes_the_children_along(folder: RunFolder) -> None:
    """Breaks when Spark's JVM or its workers outlive the driver."""
    stream = folder.programs["stream"]
    stream.start(["-c", WITH_CHILD], {})
    wait_until(lambda: "deaf" in logged(stream), "it ignores SIGTERM")
    pid = stream.pid
    assert pid is not None
    child = psutil.Process(pid).children()[0]
    hurry = threading.Event()
    hurry.set()
    assert stream.stop(hurry) is False, "the child ignores TERM"
    assert not child.is_running()
    assert not psutil.pid_exists(pid)
    assert not stream.was_started()


def test_what_a_killed_leader_left_is_found_by_another_program(folder: RunFolder, tmp_path: Path) -> None:
    """Breaks when, after kill -9 of `run` and of the driver, `down` leaves Spark's JVM on the checkpoint."""
    stream = folder.programs["stream"]
    stream.start(["-c", WITH_CHILD], {})
    wait_until(lambda: "deaf" in logged(stream), "it ignores SIGTERM")
    leader = psutil.Process(stream.pid)
    child = leader.children()[0]
    leader.kill()
    wait_until(lambda: not stream.runs(), "it is gone")
    said: list[str] = []
    other = RunFolder(tmp_path)
    other.programs["stream"].stop_seconds = 0.0
    other.stop(said.append)
    assert not child.is_running()
    assert said == ["stream: left behind by an earlier run, stopping"]


def test_a_large_log_is_moved_aside_under_the_running_program(folder: RunFolder) -> None:
    """Breaks when logs fill the disk, or a program writes on into a file that nobody sees."""
    stream = folder.programs["stream"]
    stream.start(
        ["-u", "-c", "print('x' * 3000)\nfor _ in range(2000): print('more'); import time; time.sleep(.02)"], {}
    )
    wait_until(lambda: "more" in logged(stream), "it writes")
    stream.bound_log(largest_bytes=1_000_000)
    assert "xxx" in logged(stream)
    stream.bound_log(largest_bytes=1000)
    wait_until(lambda: "more" in logged(stream), "it writes")
    text = logged(stream)
    assert "xxx" not in text and "\0" not in text
    assert "xxx" in stream.log.with_name("stream.previous.log").read_text()


def test_pauses_grow_and_shrink_again() -> None:
    """Breaks when a program that cannot run is started in a tight loop, or one bad hour makes every pause long."""
    living, said, started = [False], [], []
    restarts = Restarts(
        "stream", lives=lambda: living[0], start=lambda: started.append(now), ended=lambda: "stream ended"
    )
    now, pauses = 0.0, []
    for _ in range(9):
        restarts.look(now, said.append)
        before, begun = len(started), now
        while len(started) == before:
            now += 0.25
            restarts.look(now, said.append)
        pauses.append(now - begun)
    assert pauses[:4] == [FIRST_PAUSE_SECONDS * factor for factor in (1, 2, 4, 8)]
    assert pauses[-1] == LONGEST_PAUSE_SECONDS
    assert said.count("stream ended") == 9
    living[0] = True
    restarts.look(now + 1.0, said.append)
    restarts.look(now + STEADY_SECONDS + 3.0, said.append)
    living[0] = False
    restarts.look(now + STEADY_SECONDS + 4.0, said.append)
    assert said[-1] == "stream starts again in 1 s"


def test_a_restart_that_fails_is_said_and_tried_again() -> None:
    """Breaks when a port that is taken for a moment ends the watching."""
    tries: list[int] = []
    said: list[str] = []

    def start() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise StationwatchError("port 9092 is taken")

    restarts = Restarts("kafka", lives=lambda: len(tries) > 1, start=start, ended=lambda: "kafka ended")
    for now in range(20):
        restarts.look(float(now), said.append)
    assert len(tries) == 2
    assert said.count("port 9092 is taken") == 1
    assert said[-1] == "kafka: started again"


def test_only_one_run_in_a_home(tmp_path: Path) -> None:
    """Breaks when two copies share one checkpoint."""
    with RunFolder(tmp_path).taken(print):
        refused = pytest.raises(StackError, match=f"in use by another `run`, process {os.getpid()}.*make down")
        with refused, RunFolder(tmp_path).taken(print):
            pytest.fail("taken twice")
    with RunFolder(tmp_path).taken(print):
        assert RunFolder(tmp_path).started() == []


@pytest.mark.parametrize("name", ["api_port", "stream_metrics_port", "alarms_metrics_port", "retrainer_metrics_port"])
def test_a_taken_port_is_named_before_anything_starts(tmp_path: Path, name: str) -> None:
    """Breaks when the user learns after a minute, from a log, that port 8000 is taken."""
    said: list[str] = []
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        settings = _settings(
            tmp_path,
            **{
                "api_port": 0,
                "stream_metrics_port": 0,
                "alarms_metrics_port": 0,
                "retrainer_metrics_port": 0,
                name: other.getsockname()[1],
            },
        )
        with pytest.raises(StackError, match=f"port .* is taken .*STATIONWATCH_{name.upper()}"):
            run(settings, said.append)
    assert said == []
    assert not (tmp_path / "stack").exists()


@pytest.mark.parametrize(
    ("given", "stations"),
    [
        ({}, 25),
        ({"stations": 3}, 3),
        ({"stations": 0}, 0),
        ({"kafka_bootstrap": "plant:9092"}, 0),
        ({"kafka_bootstrap": "plant:9092", "stations": 2}, 2),
    ],
)
def test_a_plants_own_kafka_gets_simulated_readings_only_when_asked(
    tmp_path: Path, given: dict[str, object], stations: int
) -> None:
    """Breaks when `make run` mixes simulated stations into a plant's topic."""
    settings = _settings(tmp_path, **given)
    assert simulated_stations(settings) == stations
    assert FirstModel(settings, {}, {}, threading.Event()).possible is (stations > 0)


def test_the_registry_counts_as_open_when_the_training_has_opened_it(folder: RunFolder, tmp_path: Path) -> None:
    """Breaks when the stream opens an empty registry beside the training, and both make its tables."""
    model = FirstModel(_settings(tmp_path), folder.programs, {}, threading.Event())
    seen: list[bool] = []
    log = folder.programs["train"].log
    for line in ("INFO something of MLflow's\n", "180000 readings of 25 stations (0 impossible left out)\n"):
        log.write_text(line)
        model._look_at_registry()
        seen.append(model.registry_open.is_set())
    assert seen == [False, True]


def test_the_users_own_history_trains_the_first_model(folder: RunFolder, tmp_path: Path) -> None:
    """Breaks when a plant's own readings are not what its first model learns from."""
    settings = _settings(tmp_path, stations=0, training_readings=tmp_path / "nothing.csv", cassandra_hosts="plant")
    model = FirstModel(settings, folder.programs, {"STATIONWATCH_HOME": str(tmp_path)}, threading.Event())
    assert model.possible
    with pytest.raises(StackError, match=r"(?s)train ended.*nothing\.csv"):
        model.make()
    assert not folder.programs["history"].log.exists()
    assert model.registry_open.is_set(), "nobody may wait for a training that has ended"


def _settings(home: Path, **given: object) -> Settings:
    return Settings(_env_file=None, home=home, **given)  # type: ignore[arg-type]
