"""`python -m api.security.token_command`: make, list and revoke the tokens of the API."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections.abc import Sequence

from api.http.times import rfc3339
from api.security.tokens import KNOWN_SECONDS, Role, hashed
from core.errors import StationwatchError
from core.settings import PREFIX, settings_or_exit
from storage.driver.session import Store, StoreConfig, connect
from storage.tables.api_tokens import TokenRow, delete_token, put_token, tokens


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when done, 1 with one sentence when it cannot be done."""
    chosen = _parser().parse_args(arguments)
    if chosen.command == "line":
        made = secrets.token_urlsafe(32)
        print(f"token, shown only here: {made}")
        print(f"line for {PREFIX}API_TOKENS_FILE: {chosen.role}:{hashed(made)}")
        return 0
    try:
        store = connect(StoreConfig.from_settings(settings_or_exit()), deadline_seconds=10.0)
        try:
            return _run(chosen, store)
        finally:
            store.close()
    except StationwatchError as error:
        print(error, file=sys.stderr)
        return 1


def _run(chosen: argparse.Namespace, store: Store) -> int:
    if chosen.command == "add":
        made = secrets.token_urlsafe(32)
        put_token(store, TokenRow(hashed(made), chosen.role, chosen.name, time.time_ns() // 1_000_000))
        print(f"token of {chosen.name} ({chosen.role}), shown only here: {made}")
    elif chosen.command == "list":
        for row in sorted(tokens(store), key=lambda row: (row.name, row.created_ms)):
            print(f"{row.name}  {row.role}  {rfc3339(row.created_ms)}  {row.sha256[:12]}")
    else:
        found = [row for row in tokens(store) if row.name == chosen.name]
        for row in found:
            delete_token(store, row.sha256)
        print(f"{len(found)} of {chosen.name} revoked; works no longer after {KNOWN_SECONDS:.0f} s")
        return 0 if found else 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m api.security.token_command", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    roles = [role.name.lower() for role in Role]
    line = commands.add_parser("line", help="make a token for the tokens file; needs no Cassandra")
    line.add_argument("role", choices=roles)
    add = commands.add_parser("add", help=f"make a token in Cassandra, known where {PREFIX}API_TOKENS_IN_STORE is set")
    add.add_argument("role", choices=roles)
    add.add_argument("name", help="whose it is")
    commands.add_parser("list", help="list the tokens in Cassandra")
    revoke = commands.add_parser("revoke", help="revoke the tokens of a name in Cassandra")
    revoke.add_argument("name")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
