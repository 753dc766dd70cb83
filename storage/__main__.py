"""Tables and what is kept in them by hand: `schema`, `copy-judging FROM TO`, `maintenance list|add|remove`."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from core.errors import StationwatchError
from core.process import DONE, Command, run_command, start
from core.settings import Settings
from storage.commands.copying import copy_judging
from storage.commands.maintenance import add_maintenance_arguments, keep_maintenance
from storage.driver.migrations import MIGRATIONS, apply_schema, read_migrations
from storage.driver.session import StoreConfig, connect

log = logging.getLogger("storage")


def _begin() -> tuple[Settings, StoreConfig]:
    # The driver logs a traceback for each try; what went wrong reaches the user through _say and the errors.
    settings = start(quiet={"cassandra": logging.CRITICAL})
    return settings, StoreConfig.from_settings(settings)


def _schema(options: argparse.Namespace) -> int:
    _apply(_begin()[1], options)
    return DONE


def _maintain(options: argparse.Namespace) -> int:
    settings, config = _begin()
    print("\n".join(keep_maintenance(connect(config, options.wait, _say), settings.model_name, options)))
    return DONE


def _copy(options: argparse.Namespace) -> int:
    _, config = _begin()
    if options.source == options.target:
        raise StationwatchError(f"FROM and TO are both {options.source}; name two keyspaces")
    source, target = (replace(config, keyspace=keyspace) for keyspace in (options.source, options.target))
    origin = connect(source, options.wait, _say)
    _apply(target, options)
    copied = copy_judging(origin, connect(target, options.wait, _say))
    counts = ", ".join(f"{number} {what}" for what, number in copied._asdict().items())
    print(f"{source.keyspace} -> {target.keyspace}: {counts}")
    return DONE


def _apply(config: StoreConfig, options: argparse.Namespace) -> None:
    migrations = read_migrations(options.migrations)
    applied = apply_schema(config, migrations, time.time_ns() // 1_000_000, options.wait, _say)
    print(f"keyspace {config.keyspace}: " + (f"applied {', '.join(applied)}" if applied else "up to date"))


def _say(trouble: Exception, pause_seconds: float) -> None:
    log.warning("waiting for Cassandra, next try in %.1f s: %s", pause_seconds, trouble)


def _add_wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--migrations", type=Path, default=MIGRATIONS, help="folder of the .cql files (the checkout's)")
    parser.add_argument("--wait", type=float, default=120.0, help="seconds to wait for Cassandra")


def _add_copy(parser: argparse.ArgumentParser) -> None:
    _add_wait(parser)
    parser.add_argument("source", metavar="FROM", help="keyspace whose stream judged the readings")
    parser.add_argument("target", metavar="TO", help="keyspace of the replay; created when it is not there")


COMMANDS = (
    Command("schema", "create the keyspace and bring its tables up to date", _schema, _add_wait),
    Command("copy-judging", "copy what judges readings to another keyspace", _copy, _add_copy),
    Command("maintenance", "times of a station that no training learns from", _maintain, add_maintenance_arguments),
)
main = partial(run_command, COMMANDS, "python -m storage", __doc__)


if __name__ == "__main__":
    sys.exit(main())
