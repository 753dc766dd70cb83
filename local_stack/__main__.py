"""`python -m local_stack`: the laptop's Kafka and Cassandra."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from local_stack.jars import make_locks
from local_stack.stack import Stack
from models.detection.errors import StationwatchError
from settings import settings_or_exit


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
        ("up", _up, "start both servers, wait until they answer, create the topics"),
        ("down", _down, "stop both servers"),
        ("status", _status, "say what runs, where and in how much memory"),
        ("lock", _lock, "resolve the jars anew and write the locks"),
    ):
        verbs.add_parser(name, help=text, description=text).set_defaults(verb=verb)
    logs = verbs.add_parser("logs", help="print the last lines of the servers' logs")
    logs.add_argument("server", nargs="?", choices=("kafka", "cassandra"), help="one server; both without it")
    logs.add_argument("-n", type=int, default=40, metavar="LINES", help="how many lines (40)")
    logs.set_defaults(verb=_logs)
    reset = verbs.add_parser("reset", help="stop both servers and delete their data")
    reset.add_argument("--yes", action="store_true", help="really delete")
    reset.set_defaults(verb=_reset)
    return parser


def _up(options: argparse.Namespace) -> int:
    endpoints = _stack().up()
    print(f"Kafka at {endpoints.kafka}, Cassandra at {endpoints.cassandra_hosts} port {endpoints.cassandra_port}")
    return 0


def _down(options: argparse.Namespace) -> int:
    _stack().down()
    print("nothing runs here any more")
    return 0


def _status(options: argparse.Namespace) -> int:
    lines = _stack().status()
    print("\n".join(line for line, _ in lines))
    return 0 if all(well for _, well in lines) else 1


def _logs(options: argparse.Namespace) -> int:
    servers = _stack().servers
    for name in [options.server] if options.server else list(servers):
        print(servers[name].last_lines(options.n) if name in servers else f"{name}: your own server keeps its own log")
    return 0


def _reset(options: argparse.Namespace) -> int:
    stack = _stack()
    if not options.yes:
        print(f"this deletes all data in {stack.folder}; run `python -m local_stack reset --yes`", file=sys.stderr)
        return 1
    stack.reset()
    print(f"{stack.folder} is empty")
    return 0


def _lock(options: argparse.Namespace) -> int:
    make_locks(_say)
    return 0


def _stack() -> Stack:
    return Stack(settings_or_exit(), say=_say)


def _say(line: str) -> None:
    print(line, flush=True)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
