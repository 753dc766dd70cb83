"""`python -m local_stack`: the laptop's Kafka and Cassandra, and everything that runs on them."""

from __future__ import annotations

import argparse
import shutil
import sys
from functools import partial

from core.process import Command, run_command
from core.settings import load_settings
from local_stack.downloads.jars import make_locks
from local_stack.downloads.java import find_java
from local_stack.servers.server import LocalServer
from local_stack.servers.stack import Stack
from local_stack.supervisor.monitor import monitor
from local_stack.supervisor.programs import Program
from local_stack.supervisor.run import run
from local_stack.supervisor.run_folder import STOP_SECONDS as PROGRAMS
from local_stack.supervisor.run_folder import RunFolder


def _run(options: argparse.Namespace) -> int:
    return run(load_settings(), _say)


def _monitor(options: argparse.Namespace) -> int:
    return monitor(load_settings(), _say)


def _up(options: argparse.Namespace) -> int:
    endpoints = _stack().up()
    print(f"Kafka at {endpoints.kafka}, Cassandra at {endpoints.cassandra_hosts} port {endpoints.cassandra_port}")
    return 0


def _down(options: argparse.Namespace) -> int:
    stack = _stack()
    _run_folder().stop(_say)
    stack.down()
    print("nothing runs here any more")
    return 0


def _status(options: argparse.Namespace) -> int:
    lines = [*_stack().status(), *(program.status() for program in _run_folder().started())]
    print("\n".join(line for line, _ in lines))
    return 0 if all(well for _, well in lines) else 1


def _logs(options: argparse.Namespace) -> int:
    folder = _run_folder()
    logged: dict[str, LocalServer | Program] = {**_stack().servers, **folder.programs}
    for name in [options.name] if options.name else [*_stack().servers, *(one.name for one in folder.started())]:
        print(logged[name].last_lines(options.n) if name in logged else f"{name}: your own server keeps its own log")
    return 0


def _reset(options: argparse.Namespace) -> int:
    stack = _stack()
    if not options.yes:
        print(
            f"this deletes all data in {stack.folder}, and the checkpoint, which is worth nothing without them; "
            "models stay. Run `python -m local_stack reset --yes`",
            file=sys.stderr,
        )
        return 1
    _run_folder().stop(_say)
    stack.reset()
    # It names offsets of topics that are gone.
    if stack.servers:
        shutil.rmtree(load_settings().home / "checkpoint", ignore_errors=True)
    print(f"{stack.folder} is empty")
    return 0


def _java(options: argparse.Namespace) -> int:
    print(find_java())
    return 0


def _lock(options: argparse.Namespace) -> int:
    make_locks(_say)
    return 0


def _run_folder() -> RunFolder:
    return RunFolder(load_settings().home)


def _stack() -> Stack:
    return Stack(load_settings(), say=_say)


def _say(line: str) -> None:
    print(line, flush=True)


def _add_logs(parser: argparse.ArgumentParser) -> None:
    names = ("kafka", "cassandra", *PROGRAMS)
    parser.add_argument("name", nargs="?", choices=names, help="one of them; the servers and what runs without it")
    parser.add_argument("-n", type=int, default=40, metavar="LINES", help="how many lines (40)")


def _add_reset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="really delete")


COMMANDS = (
    Command("run", "start everything: servers, model, stream, stations, API, until Ctrl-C", _run),
    Command("monitor", "Prometheus and Alertmanager beside a running stack; Ctrl-C stops them", _monitor),
    Command("up", "start both servers, wait until they answer, create the topics", _up),
    Command("down", "stop both servers, and everything that `run` started", _down),
    Command("status", "say what runs, where and in how much memory", _status),
    Command("logs", "print the last lines of the logs", _logs, _add_logs),
    Command("reset", "stop everything, delete the servers' data and the checkpoint", _reset, _add_reset),
    Command("java", "say which Java 17 is used", _java),
    Command("lock", "resolve the jars again and write the locks", _lock),
)
main = partial(run_command, COMMANDS, "python -m local_stack", __doc__)


if __name__ == "__main__":
    sys.exit(main())
