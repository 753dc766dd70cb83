"""The tables: created and kept up to date from `cassandra/*.cql`, in the order of their numbers."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template

from core.errors import StationwatchError, StoreUnavailable
from storage.driver.retry import OnWait, Patience
from storage.driver.session import Store, StoreConfig, open_store, statement

log = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).resolve().parents[2] / "cassandra"
"""Found in a checkout. An installed wheel holds no .cql files: there the folder is passed to the command."""

DAY_SECONDS = 86_400
LOCK_SECONDS = 120
_FILE_NAME = re.compile(r"(\d{3})_[a-z0-9_]+\.cql")
_KEYSPACE = re.compile(r"[a-z][a-z0-9_]{0,47}")
_DATACENTER = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+)")
_TTL = re.compile(r"default_time_to_live = (\d+)")

CREATE_KEYSPACE = Template(
    "CREATE KEYSPACE IF NOT EXISTS $keyspace"
    " WITH replication = {'class': 'NetworkTopologyStrategy', '$datacenter': $replication}"
)
# Which migrations has this keyspace seen? number 0 is the lock that one schema command holds at a time.
CREATE_META = """
CREATE TABLE IF NOT EXISTS schema_meta (
    number int PRIMARY KEY, name text, sha256 text, applied_time timestamp, owner text
)"""

INSERT_META = statement("INSERT INTO schema_meta (number, name, sha256, applied_time) VALUES (?, ?, ?, ?)")
SELECT_META = statement("SELECT number, name, sha256 FROM schema_meta")
INSERT_LOCK = statement("INSERT INTO schema_meta (number, owner) VALUES (0, ?) IF NOT EXISTS USING TTL ?")
SELECT_LOCK = statement("SELECT owner FROM schema_meta WHERE number = 0")
DELETE_LOCK = statement("DELETE FROM schema_meta WHERE number = 0 IF owner = ?")
SELECT_TTLS = statement("SELECT table_name, default_time_to_live FROM system_schema.tables WHERE keyspace_name = ?")


class SchemaRefused(StationwatchError):
    """The keyspace holds tables that this program does not know, or that differ from what it knows."""


@dataclass(frozen=True)
class Migration:
    """One numbered .cql file; it never changes once a keyspace has seen it."""

    number: int
    name: str
    text: str

    @property
    def sha256(self) -> str:
        """Hash of the file's text, before settings are filled in: a changed TTL is no changed migration."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def statements(self, config: StoreConfig) -> list[str]:
        """The CQL statements with the settings filled in."""
        filled = Template(self.text).substitute(
            readings_ttl_seconds=config.readings_ttl_days * DAY_SECONDS,
            anomalies_ttl_seconds=config.anomalies_ttl_days * DAY_SECONDS,
        )
        lines = [line for line in filled.splitlines() if not line.lstrip().startswith("--")]
        return [part.strip() for part in "\n".join(lines).split(";") if part.strip()]


def read_migrations(folder: Path = MIGRATIONS) -> list[Migration]:
    """Read the migrations, in order.

    Raises:
        SchemaRefused: none there, a name that is no migration's, or a number missing or doubled.
    """
    paths = sorted(folder.glob("*.cql"))
    if not paths:
        raise SchemaRefused(
            f"no .cql files in {folder}; run in a checkout of stationwatch, or pass --migrations FOLDER"
        )
    migrations = []
    for place, path in enumerate(paths, start=1):
        match = _FILE_NAME.fullmatch(path.name)
        if not match or int(match[1]) != place:
            raise SchemaRefused(f"{path}: expected migration {place:03d}_<name>.cql here")
        migrations.append(Migration(place, path.stem, path.read_text(encoding="utf-8")))
    return migrations


def apply_schema(
    config: StoreConfig,
    migrations: list[Migration],
    now_ms: int,
    deadline_seconds: float = 120.0,
    on_wait: OnWait | None = None,
) -> list[str]:
    """Create the keyspace and bring its tables up to date. Safe to run again, and by several at once.

    Args:
        config: keyspace, replication and days to keep.
        migrations: all of them, in order.
        now_ms: recorded beside each migration applied, ms since the epoch.
        deadline_seconds: how long Cassandra, or another schema command, is waited for, s.
        on_wait: told about each pause.

    Returns:
        Names of the migrations that were applied by this call.

    Raises:
        SchemaRefused: the keyspace knows more than this program, or something else.
        StoreUnavailable: Cassandra did not answer until the deadline.
    """
    patience = Patience(deadline_seconds, on_wait)
    store = patience.call(_open_keyspace, config)
    try:
        with _locked(store, patience):
            applied = _apply_missing(store, migrations, now_ms, patience)
            _keep_as_long_as_set(store, migrations, patience)
        return applied
    finally:
        store.close()


def _open_keyspace(config: StoreConfig) -> Store:
    if not _KEYSPACE.fullmatch(config.keyspace) or not _DATACENTER.fullmatch(config.datacenter):
        raise SchemaRefused(f"keyspace {config.keyspace!r} or data centre {config.datacenter!r} is no usable name")
    store = open_store(config, None)
    try:
        store.run(
            CREATE_KEYSPACE.substitute(
                keyspace=config.keyspace, datacenter=config.datacenter, replication=int(config.replication)
            )
        )
        store.session.set_keyspace(config.keyspace)
        store.run(CREATE_META)
    except BaseException:
        store.close()
        raise
    return store


def _apply_missing(store: Store, migrations: list[Migration], now_ms: int, patience: Patience) -> list[str]:
    seen = patience.call(_seen, store)
    _refuse_unknown(store.config, seen, migrations)
    missing = [migration for migration in migrations if migration.number not in seen]
    for migration in missing:
        for change in migration.statements(store.config):
            patience.call(store.run, change)
        record = (migration.number, migration.name, migration.sha256, now_ms)
        patience.call(store.one, INSERT_META, record)
        log.info("schema: applied %s to %s", migration.name, store.config.keyspace)
    return [migration.name for migration in missing]


def _seen(store: Store) -> dict[int, tuple[str, str]]:
    rows = store.rows(SELECT_META)
    return {number: (name, sha256) for number, name, sha256 in rows if number != 0}


def _refuse_unknown(config: StoreConfig, seen: dict[int, tuple[str, str]], migrations: list[Migration]) -> None:
    known = {migration.number: migration for migration in migrations}
    newest = max(seen, default=0)
    if newest > len(migrations):
        raise SchemaRefused(
            f"keyspace {config.keyspace} holds schema {newest} ({seen[newest][0]}), this program knows schemas up to "
            f"{len(migrations)}: run the newer stationwatch, or use another keyspace"
        )
    for number, (name, sha256) in sorted(seen.items()):
        if known[number].sha256 != sha256:
            raise SchemaRefused(
                f"migration {known[number].name} differs from {name} that keyspace {config.keyspace} was made with "
                f"(sha256 {known[number].sha256[:12]}, there {sha256[:12]}): restore the file and add a new migration"
            )


def _keep_as_long_as_set(store: Store, migrations: list[Migration], patience: Patience) -> None:
    """Give tables made with other settings the time to live that is set; rows written before keep theirs."""
    actual = dict(store.rows(SELECT_TTLS, (store.config.keyspace,)))
    for migration in migrations:
        for creation in migration.statements(store.config):
            table, ttl = _TABLE.search(creation), _TTL.search(creation)
            if table and ttl and actual.get(table[1]) != int(ttl[1]):
                change = f"ALTER TABLE {table[1]} WITH default_time_to_live = {ttl[1]}"
                patience.call(store.run, change)


@contextmanager
def _locked(store: Store, patience: Patience) -> Iterator[None]:
    """Hold row 0 of schema_meta: concurrent CREATE TABLE on several nodes can leave a table with two ids."""
    owner = f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}"
    patience.call(_take_lock, store, owner)
    try:
        yield
    finally:
        store.one(DELETE_LOCK, (owner,))


def _take_lock(store: Store, owner: str) -> None:
    taken = store.one(INSERT_LOCK, (owner, LOCK_SECONDS))
    if taken and taken[0]:
        return
    holder = store.one(SELECT_LOCK)
    if holder and holder[0] != owner:
        raise StoreUnavailable(f"another schema command ({holder[0]}) works on keyspace {store.config.keyspace}")
    if not holder:
        raise StoreUnavailable(f"the schema lock of keyspace {store.config.keyspace} has just been given back")
