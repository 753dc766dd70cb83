"""How every process and command of stationwatch starts and ends.

A command is declared once, as a `Command`. `python -m MODULE` and `stationwatch NAME` give it to `run_command`.
The order is the same everywhere: arguments, settings, logs, signals, metrics, work, exit status.

What happens on SIGTERM, SIGINT (Ctrl-C) and SIGHUP:

- A **command** is interrupted: KeyboardInterrupt unwinds it, so that it stops what it started; exit status 130. `run`
  and `monitor` end in this way on purpose and exit with 0.
- A **service** calls `stop_on_signals`: the first SIGTERM or SIGINT sets the event that it returns. The service then
  stops, gives back its leases and exits with status 0. Unfinished work is not lost: the stream abandons its
  batch, which runs again at the next start. A second Ctrl-C, and SIGHUP, interrupt it as a command.
- The **API** leaves signals to gunicorn: SIGTERM finishes the requests that are under way, SIGINT does not wait.
- A signal that was ignored at the start, as under `nohup`, stays ignored.

Exit statuses: 0 done, 1 it could not be done, 2 arguments or settings cannot be used, 130 interrupted.
"""

from __future__ import annotations

import argparse
import errno
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple

from core.errors import SettingsError, StationwatchError
from core.logs import log_to_stderr
from core.release import release
from core.settings import PREFIX, Settings, load_settings

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_AsWritten = argparse.RawDescriptionHelpFormatter
DONE, FAILED, UNUSABLE, INTERRUPTED = 0, 1, 2, 130


def _no_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing."""


class Command(NamedTuple):
    """Something that is started by its name.

    Args:
        name: a word, as in `stationwatch NAME`.
        help: one line for the list of commands.
        run: does it and returns the exit status. A StationwatchError that it raises becomes one sentence.
        add_arguments: adds its arguments to its parser.
        description: for its own `--help`; `help` when there is none.
        failed: exit status of a StationwatchError.
    """

    name: str
    help: str
    run: Callable[[argparse.Namespace], int]
    add_arguments: Callable[[argparse.ArgumentParser], None] = _no_arguments
    description: str = ""
    failed: int = FAILED

    @property
    def text(self) -> str:
        """What its own help says."""
        return self.description or self.help


def run_command(
    commands: Command | Sequence[Command], prog: str, description: str, arguments: Sequence[str] | None = None
) -> int:
    """Parse the arguments and run a command.

    Args:
        commands: the one command of a module, or those of which the first argument names one.
        prog: how it was started, such as `python -m storage`.
        description: of the module.
        arguments: default: those of this process.

    Returns:
        The exit status.
    """
    chosen = parser_of(commands, prog, description).parse_args(arguments)
    command: Command = chosen.command
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        for number in handlers:
            _handle(number, _interrupt)
        return command.run(chosen)
    except SettingsError as error:
        return _refused(prog, error, UNUSABLE)
    except StationwatchError as error:
        return _refused(prog, error, command.failed)
    except KeyboardInterrupt:
        print(f"{command.name}: interrupted", file=sys.stderr)
        return INTERRUPTED
    finally:
        for number, handler in handlers.items():
            if handler is not None:
                signal.signal(number, handler)


def parser_of(commands: Command | Sequence[Command], prog: str, description: str) -> argparse.ArgumentParser:
    """Return the parser of one command, or of several with a subparser each."""
    parser = argparse.ArgumentParser(prog=prog, description=description, formatter_class=_AsWritten)
    add_version(parser)
    if isinstance(commands, Command):
        add_command(parser, commands)
        return parser
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in commands:
        verb = verbs.add_parser(command.name, help=command.help, description=command.text, formatter_class=_AsWritten)
        add_command(verb, command)
    return parser


def add_command(parser: argparse.ArgumentParser, command: Command) -> None:
    """Let a parser, empty so far, parse the arguments of a command."""
    command.add_arguments(parser)
    parser.set_defaults(command=command)


def add_version(parser: argparse.ArgumentParser) -> None:
    """Let a parser answer `--version`."""
    parser.add_argument("--version", action="version", version=f"stationwatch {release()}")


def start(quiet: Mapping[str, int] | None = None, **given: object) -> Settings:
    """Read the settings and send the logs to stderr: the first step of everything that logs.

    Args:
        quiet: libraries → least level of theirs that is shown; see `log_to_stderr`.
        given: settings that a command line names.

    Raises:
        SettingsError: every problem in one message.
    """
    settings = load_settings(**given)
    log_to_stderr(settings.log_level, quiet or {})
    return settings


def stop_on_signals(stopping: threading.Event | None = None) -> threading.Event:
    """Return an event that SIGTERM or SIGINT sets; SIGINT raises KeyboardInterrupt once it is set.

    Args:
        stopping: the event, where a library has replaced the handlers since it was made.
    """
    stopping = stopping or threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if stopping.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        _handle(number, handle)
    return stopping


def serve_metrics(registry: CollectorRegistry, settings: Settings, port_setting: str) -> str:
    """Serve a registry in the background; return its address.

    Args:
        registry: what is served.
        settings: with `metrics_host`.
        port_setting: name of the setting that holds the port, such as `alarms_metrics_port`; 0 is any free one.

    Raises:
        SettingsError: the port is taken, or the host is not one of this machine.
    """
    from prometheus_client import start_http_server

    host, port = settings.metrics_host, int(getattr(settings, port_setting))
    try:
        server, _ = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        name = f"{PREFIX}{port_setting.upper()}"
        taken = error.errno == errno.EADDRINUSE
        problem = "the port is taken; stop what uses it, or set another, or 0 for any free one" if taken else str(error)
        raise SettingsError(f"{name} = {port} at {host}: {problem}") from error
    return f"http://{host}:{server.server_port}/metrics"


def _refused(prog: str, error: StationwatchError, status: int) -> int:
    print(f"{prog.removeprefix('python -m ')}: {error}", file=sys.stderr)
    return status


def _handle(number: signal.Signals, handler: Callable[[int, FrameType | None], None]) -> None:
    """Handle a signal, unless whoever started this process had it ignored, as `nohup` does."""
    if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
