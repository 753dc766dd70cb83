"""`python -m local_stack`: the laptop's Kafka and Cassandra, and everything that runs on them."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from core.errors import StationwatchError
from core.settings import settings_or_exit
from local_stack.downloads.jars import make_locks
from local_stack.downloads.java import find_java
from local_stack.servers.server import LocalServer
from local_stack.servers.stack import Stack
from local_stack.supervisor.monitor import monitor
from local_stack.supervisor.programs import Program
from local_stack.supervisor.run import run
from local_stack.supervisor.run_folder import STOP_SECONDS as PROGRAMS
from local_stack.supervisor.run_folder import RunFolder


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns:
        Exit status: 0, 1 for a problem that was printed, 130 after Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        return int(options.verb(options))
    except StationwatchError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; what this command had started is stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m local_stack", description="Real Kafka and Cassandra without Docker.")
    verbs = parser.add_subparsers(required=True, metavar="verb")
    for name, verb, text in (
        ("run", _run, "start everything: servers, model, stream, stations, API; Ctrl-C stops it all"),
        ("monitor", _monitor, "Prometheus and Alertmanager beside a running stack; Ctrl-C stops them"),
        ("up", _up, "start both servers, wait until they answer, create the topics"),
        ("down", _down, "stop both servers, and everything that `run` started"),
        ("status", _status, "say what runs, where and in how much memory"),
        ("java", _java, "say which Java 17 is used"),
        ("lock", _lock, "resolve the jars anew and write the locks"),
    ):
        verbs.add_parser(name, help=text, description=text).set_defaults(verb=verb)
    logs = verbs.add_parser("logs", help="print the last lines of the logs")
    names = ("kafka", "cassandra", *PROGRAMS)
    logs.add_argument("name", nargs="?", choices=names, help="one of them; the servers and what runs without it")
    logs.add_argument("-n", type=int, default=40, metavar="LINES", help="how many lines (40)")
    logs.set_defaults(verb=_logs)
    reset = verbs.add_parser("reset", help="stop everything, delete the servers' data and the checkpoint")
    reset.add_argument("--yes", action="store_true", help="really delete")
    reset.set_defaults(verb=_reset)
    return parser


def _run(options: argparse.Namespace) -> int:
    return run(settings_or_exit(), _say)


def _monitor(options: argparse.Namespace) -> int:
    return monitor(settings_or_exit(), _say)


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
        shutil.rmtree(settings_or_exit().home / "checkpoint", ignore_errors=True)
    print(f"{stack.folder} is empty")
    return 0


def _java(options: argparse.Namespace) -> int:
    print(find_java())
    return 0


def _lock(options: argparse.Namespace) -> int:
    make_locks(_say)
    return 0


def _run_folder() -> RunFolder:
    return RunFolder(settings_or_exit().home)


def _stack() -> Stack:
    return Stack(settings_or_exit(), say=_say)


def _say(line: str) -> None:
    print(line, flush=True)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
