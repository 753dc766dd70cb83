"""Make, list and revoke the tokens of the API."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from functools import partial

from api.http.times import rfc3339
from api.security.tokens import KNOWN_SECONDS, Role, hashed
from core.process import DONE, Command, run_command
from core.settings import PREFIX, load_settings
from storage.driver.session import Store, StoreConfig, connect
from storage.tables.api_tokens import TokenRow, delete_token, put_token, tokens


def keep_tokens(options: argparse.Namespace) -> int:
    """Do what the action says: `line`, `add`, `list` or `revoke`."""
    if options.action == "line":
        made = secrets.token_urlsafe(32)
        print(f"token, shown only here: {made}")
        print(f"line for {PREFIX}API_TOKENS_FILE: {options.role}:{hashed(made)}")
        return DONE
    store = connect(StoreConfig.from_settings(load_settings()), deadline_seconds=10.0)
    try:
        return _run(options, store)
    finally:
        store.close()


def _run(options: argparse.Namespace, store: Store) -> int:
    if options.action == "add":
        made = secrets.token_urlsafe(32)
        put_token(store, TokenRow(hashed(made), options.role, options.name, time.time_ns() // 1_000_000))
        print(f"token of {options.name} ({options.role}), shown only here: {made}")
    elif options.action == "list":
        for row in sorted(tokens(store), key=lambda row: (row.name, row.created_ms)):
            print(f"{row.name}  {row.role}  {rfc3339(row.created_ms)}  {row.sha256[:12]}")
    else:
        found = [row for row in tokens(store) if row.name == options.name]
        for row in found:
            delete_token(store, row.sha256)
        print(f"{len(found)} of {options.name} revoked; works no longer after {KNOWN_SECONDS:.0f} s")
        return 0 if found else 1
    return 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions."""
    actions = parser.add_subparsers(dest="action", required=True)
    roles = [role.name.lower() for role in Role]
    line = actions.add_parser("line", help="make a token for the tokens file; needs no Cassandra")
    line.add_argument("role", choices=roles)
    add = actions.add_parser("add", help=f"make a token in Cassandra, known where {PREFIX}API_TOKENS_IN_STORE is set")
    add.add_argument("role", choices=roles)
    add.add_argument("name", help="whose it is")
    actions.add_parser("list", help="list the tokens in Cassandra")
    revoke = actions.add_parser("revoke", help="revoke the tokens of a name in Cassandra")
    revoke.add_argument("name")


COMMAND = Command("tokens", "make, list and revoke tokens of the API", keep_tokens, add_arguments, __doc__)
main = partial(run_command, COMMAND, "python -m api.security.token_command", __doc__)


if __name__ == "__main__":
    sys.exit(main())
