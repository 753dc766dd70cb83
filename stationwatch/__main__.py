"""`stationwatch COMMAND`: everything that is started by hand. `stationwatch COMMAND --help` explains one of them.

Completion for bash and zsh: `eval "$(register-python-argcomplete stationwatch)"`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence

import argcomplete

from core.process import add_command, add_version, run_command
from stationwatch.commands import BY_HAND, ENTRIES, SERVICES, Entry, load


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    if "_ARGCOMPLETE" in os.environ:
        _complete()
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in ENTRIES:
        command = load(given[0])
        return run_command(command, f"stationwatch {given[0]}", command.text, given[1:])
    parser = _overview()
    parser.parse_args(given)
    parser.print_help()
    return 0


def _overview() -> argparse.ArgumentParser:
    """Return a parser that knows the names alone, and refuses others."""
    parser = argparse.ArgumentParser(
        prog="stationwatch",
        usage="stationwatch COMMAND [--help] [ARGUMENTS]",
        description="Real-time anomaly detection for factory stations.",
        epilog="\n".join([*_listed("Commands", BY_HAND), "", *_listed("Services, each until SIGTERM", SERVICES)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_version(parser)
    parser.add_argument("command", nargs="?", choices=ENTRIES, metavar="COMMAND", help=argparse.SUPPRESS)
    return parser


def _listed(title: str, entries: Mapping[str, Entry]) -> Iterator[str]:
    yield f"{title}:"
    width = max(map(len, ENTRIES))
    yield from (f"  {name:{width}}  {entry.help}" for name, entry in entries.items())


def _complete() -> None:
    """Answer the shell and end. The module of a command is imported once its name is complete."""
    line = os.environ.get("COMP_LINE", "")[: int(os.environ.get("COMP_POINT", "0"))]
    words = line.split(maxsplit=2)
    if len(words) < 2 or words[1] not in ENTRIES or line.rstrip() == " ".join(words[:2]) == line:
        argcomplete.autocomplete(_overview())
        return
    parser = argparse.ArgumentParser(prog="stationwatch")
    add_command(parser.add_subparsers().add_parser(words[1]), load(words[1]))
    argcomplete.autocomplete(parser)


if __name__ == "__main__":
    sys.exit(main())
