"""Keyspaces with empty tables, lent to one test after another: making one takes seconds, emptying it a fraction."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from cassandra.concurrent import execute_concurrent

from core.settings import Settings
from local_stack.servers.stack import Stack, endpoints_settings
from storage.driver.migrations import apply_schema, read_migrations
from storage.driver.session import Store, StoreConfig, connect

PREFIX = "lent_"
NOT_EMPTIED = "schema_meta"
TRUNCATIONS_AT_ONCE = 8


class Keyspaces:
    """The keyspaces of one pair of servers.

    Args:
        stack: the running servers.
    """

    def __init__(self, stack: Stack) -> None:
        """None is made yet."""
        self.stack = stack
        self._free: list[str] = []
        self._made = 0

    @contextmanager
    def lent(self, **changes: Any) -> Iterator[Settings]:
        """Settings of a keyspace whose tables are empty, for as long as the block lasts.

        Args:
            changes: further settings. Those of the tables' time to live stay as they are by default.
        """
        name = self._take(changes)
        try:
            yield self._settings(name, changes)
        finally:
            self._free.append(name)

    def _take(self, changes: dict[str, Any]) -> str:
        if self._free:
            name = self._free.pop()
            with closing(connect(StoreConfig.from_settings(self._settings(name, changes)))) as store:
                empty(store)
            return name
        self._made += 1
        name = f"{PREFIX}{self._made}"
        apply_schema(
            StoreConfig.from_settings(self._settings(name, changes)), read_migrations(), time.time_ns() // 1_000_000
        )
        return name

    def _settings(self, name: str, changes: dict[str, Any]) -> Settings:
        settings = Settings(_env_file=None, cassandra_keyspace=name, **{"api_port": 0, **changes})
        return endpoints_settings(settings, self.stack.endpoints())


def empty(store: Store) -> None:
    """Truncate every table but the record of the schema: also one that shows no row can hold deletions."""
    tables = store.rows("SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?", (store.config.keyspace,))
    statements = [(f"TRUNCATE {name}", None) for (name,) in tables if name != NOT_EMPTIED]
    execute_concurrent(store.session, statements, concurrency=TRUNCATIONS_AT_ONCE)
