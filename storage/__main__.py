"""`python -m storage schema`, `copy-judging FROM TO` and `maintenance list|add|remove`."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from dataclasses import replace
from pathlib import Path

from core.errors import StationwatchError
from core.settings import settings_or_exit
from storage.commands.copying import copy_judging
from storage.commands.maintenance import add_maintenance_parser, keep_maintenance
from storage.driver.migrations import MIGRATIONS, apply_schema, read_migrations
from storage.driver.session import StoreConfig, connect

log = logging.getLogger("storage")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 when done, 1 with one sentence when refused or Cassandra is away."""
    chosen = _parser().parse_args(arguments)
    settings = settings_or_exit()
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # The driver logs a traceback for each try; what went wrong reaches the user through _say and the errors below.
    logging.getLogger("cassandra").setLevel(logging.CRITICAL)
    config = StoreConfig.from_settings(settings)
    try:
        if chosen.command == "schema":
            _schema(config, chosen.migrations, chosen.wait)
        elif chosen.command == "maintenance":
            print("\n".join(keep_maintenance(connect(config, chosen.wait, _say), settings.model_name, chosen)))
        else:
            _copy(replace(config, keyspace=chosen.source), replace(config, keyspace=chosen.target), chosen)
    except StationwatchError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m storage", description=__doc__)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--migrations", type=Path, default=MIGRATIONS, help="folder of the .cql files (the checkout's)")
    shared.add_argument("--wait", type=float, default=120.0, help="seconds to wait for Cassandra")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("schema", parents=[shared], help="create the keyspace and bring its tables up to date")
    copying = commands.add_parser(
        "copy-judging", parents=[shared], help="copy what judges readings to another keyspace"
    )
    copying.add_argument("source", metavar="FROM", help="keyspace whose stream judged the readings")
    copying.add_argument("target", metavar="TO", help="keyspace of the replay; created when it is not there")
    add_maintenance_parser(commands)
    return parser


def _schema(config: StoreConfig, migrations: Path, wait_seconds: float) -> None:
    applied = apply_schema(config, read_migrations(migrations), time.time_ns() // 1_000_000, wait_seconds, _say)
    print(f"keyspace {config.keyspace}: " + (f"applied {', '.join(applied)}" if applied else "up to date"))


def _copy(source: StoreConfig, target: StoreConfig, chosen: argparse.Namespace) -> None:
    if source.keyspace == target.keyspace:
        raise StationwatchError(f"FROM and TO are both {source.keyspace}; name two keyspaces")
    origin = connect(source, chosen.wait, _say)
    _schema(target, chosen.migrations, chosen.wait)
    copied = copy_judging(origin, connect(target, chosen.wait, _say))
    counts = ", ".join(f"{number} {what}" for what, number in copied._asdict().items())
    print(f"{source.keyspace} -> {target.keyspace}: {counts}")


def _say(trouble: Exception, pause_seconds: float) -> None:
    log.warning("waiting for Cassandra, next try in %.1f s: %s", pause_seconds, trouble)


if __name__ == "__main__":
    raise SystemExit(main())
