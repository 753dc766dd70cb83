"""The connection to Cassandra: one `Store` per process, cheap to ask for, safe across forks and pickling."""

from __future__ import annotations

import os
import threading
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from ssl import create_default_context
from typing import Any, Self

from cassandra import ConsistencyLevel
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, Session
from cassandra.concurrent import execute_concurrent
from cassandra.policies import DCAwareRoundRobinPolicy, ExponentialReconnectionPolicy, TokenAwarePolicy
from cassandra.query import BoundStatement, PreparedStatement, tuple_factory

from core.errors import StoreUnavailable
from storage.driver.encoded_batches import EncodedRowsHandler
from storage.driver.retry import OnWait, Patience, driver_errors

READS_IN_FLIGHT = 32
PAGE_ROWS = 1000
# Creating a table syncs to disk on every node.
SCHEMA_TIMEOUT_SECONDS = 30.0
# Version 5 checks every frame in Python.
PROTOCOL_VERSION = 4


@dataclass(frozen=True)
class StoreConfig:
    """Where the tables are and how they are asked for. Picklable: it travels to Spark's Python workers.

    Args:
        hosts: contact points, without port.
        port: CQL port.
        keyspace: keyspace of this plant.
        datacenter: local data centre of the driver.
        replication: replication factor when the keyspace is created.
        readings_ttl_days: days readings and feature samples are kept.
        anomalies_ttl_days: days anomalies and station minutes are kept.
        request_timeout_seconds: how long one request waits for its answer, s. An API asks for less.
        username: empty where the cluster wants no login.
        password: of `username`.
        tls: speak TLS, and check the server's certificate and name.
        ca: certificates (PEM text) that vouch for the server's; empty: those of the system.
    """

    hosts: tuple[str, ...] = ("127.0.0.1",)
    port: int = 9042
    keyspace: str = "stationwatch"
    datacenter: str = "datacenter1"
    replication: int = 1
    readings_ttl_days: int = 30
    anomalies_ttl_days: int = 400
    request_timeout_seconds: float = 10.0
    username: str = ""
    password: str = field(default="", repr=False)
    tls: bool = False
    ca: str = field(default="", repr=False)

    @classmethod
    def from_settings(cls, settings: Any) -> Self:
        """Take what concerns Cassandra from the settings. Duck-typed, so that workers need no pydantic."""
        return cls(
            hosts=tuple(settings.contact_points),
            port=settings.cassandra_port,
            keyspace=settings.cassandra_keyspace,
            datacenter=settings.cassandra_datacenter,
            replication=settings.cassandra_replication,
            readings_ttl_days=settings.readings_ttl_days,
            anomalies_ttl_days=settings.anomalies_ttl_days,
            **settings.cassandra_login(),
        )

    @property
    def place(self) -> str:
        """Hosts, port and keyspace, for messages."""
        return f"{','.join(self.hosts)}:{self.port}/{self.keyspace}"


class Statement(str):
    """The text of a CQL statement of this program; made by `statement`. Values are bound, never part of it."""

    __slots__ = ()


_declared: dict[str, Statement] = {}


def statement(cql: str) -> Statement:
    """Declare a statement: a process that prepares ahead finds those of all tables that it imports."""
    return _declared.setdefault(cql, Statement(cql))


def declared_reads() -> list[Statement]:
    """The SELECT statements of all tables that this process has imported."""
    return [declared for declared in _declared.values() if declared.lstrip().startswith("SELECT")]


class Store:
    """An open session with its prepared statements."""

    def __init__(self, cluster: Cluster, session: Session, config: StoreConfig) -> None:
        self.session = session
        self.config = config
        self._cluster = cluster
        self._prepared: dict[str, PreparedStatement] = {}

    def prepared(self, cql: str) -> PreparedStatement:
        """The prepared statement of `cql`, which is a constant of the program; values are always bound.

        Raises:
            StoreUnavailable: Cassandra is away.
            SchemaMissing: the table is not there.
        """
        statement = self._prepared.get(cql)
        if statement is None:
            with driver_errors(self.config.place):
                statement = self.session.prepare(cql)
            statement.is_idempotent = True
            self._prepared[cql] = statement
        return statement

    def rows(
        self, cql: Statement, values: Sequence[object] = (), page_rows: int = PAGE_ROWS
    ) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of one partition, page by page."""
        statement = BoundStatement(self.prepared(cql), fetch_size=page_rows).bind(values)
        with driver_errors(self.config.place):
            yield from self.session.execute(statement)

    def one(self, cql: Statement, values: Sequence[object] = ()) -> tuple[Any, ...] | None:
        """The first row, or None."""
        return next(self.rows(cql, values), None)

    def rows_of_all(self, cql: Statement, many: Iterable[Sequence[object]]) -> list[list[tuple[Any, ...]]]:
        """The rows of several partitions, read concurrently (at most 32 in flight), in the order asked."""
        statement = self.prepared(cql)
        with driver_errors(self.config.place):
            answers = execute_concurrent(
                self.session, ((statement, values) for values in many), concurrency=READS_IN_FLIGHT
            )
            return [list(answer.result_or_exc) for answer in answers]

    def replicas_of(self, statement: BoundStatement) -> Hashable:
        """Which nodes hold the row of `statement`: something equal for rows on the same nodes."""
        return self.replicas_of_key(statement.routing_key)

    def replicas_of_key(self, routing_key: bytes) -> Hashable:
        """Which nodes hold the rows of a partition: something equal for partitions on the same nodes."""
        metadata = self._cluster.metadata
        if len(metadata.all_hosts()) == 1:
            return None
        return frozenset(metadata.get_replicas(self.config.keyspace, routing_key)) or routing_key

    def run(self, cql: str) -> None:
        """Execute one statement as it is and wait until all nodes know it: for tables, never for rows."""
        with driver_errors(self.config.place):
            self.session.execute(cql, timeout=SCHEMA_TIMEOUT_SECONDS)

    def close(self) -> None:
        """Close every connection."""
        self._cluster.shutdown()


def connect(config: StoreConfig, deadline_seconds: float = 60.0, on_wait: OnWait | None = None) -> Store:
    """Open a store in `config.keyspace`, waiting for Cassandra.

    Raises:
        StoreUnavailable: it did not answer until the deadline.
        SchemaMissing: it answers, but the keyspace is not there.
    """
    return Patience(deadline_seconds, on_wait).call(open_store, config, config.keyspace)


def open_store(config: StoreConfig, keyspace: str | None) -> Store:
    """Try once to connect; with `keyspace` None outside of any, as the schema command needs."""
    cluster = None
    try:
        with driver_errors(config.place):
            cluster = _cluster(config)
            session = cluster.connect()
            # prepare() waits this long; beside execution profiles the driver has no public way to set it.
            session._default_timeout = config.request_timeout_seconds
            session.client_protocol_handler = EncodedRowsHandler
            if keyspace is not None:
                # Apart from connect(), which reports a missing keyspace as an unreachable server.
                session.set_keyspace(keyspace)
            return Store(cluster, session, config)
    except BaseException:
        if cluster is not None:
            cluster.shutdown()
        raise


def connected(config: StoreConfig, deadline_seconds: float = 60.0, on_wait: OnWait | None = None) -> Store:
    """This process's store for `config`, opened at the first call and kept.

    A forked child opens its own: sockets and the driver's threads do not survive a fork.

    Raises:
        StoreUnavailable: Cassandra did not answer until the deadline.
        SchemaMissing: it answers, but the keyspace is not there.
    """
    store = _stores.get(config)
    if store is not None:
        return store
    if not _lock.acquire(timeout=deadline_seconds):
        raise StoreUnavailable(f"Cassandra {config.place} does not answer: another thread still waits for it")
    try:
        if config not in _stores:
            _stores[config] = connect(config, deadline_seconds, on_wait)
        return _stores[config]
    finally:
        _lock.release()


_stores: dict[StoreConfig, Store] = {}
_lock = threading.Lock()


def _forget_parents_stores() -> None:
    global _stores, _lock
    _stores, _lock = {}, threading.Lock()


os.register_at_fork(after_in_child=_forget_parents_stores)


def access(config: StoreConfig) -> dict[str, Any]:
    """Return the driver's own options for logging in and for TLS."""
    login = PlainTextAuthProvider(config.username, config.password) if config.username else None
    # With system's certificates when there are none of one's own.
    return {
        "auth_provider": login,
        "ssl_context": create_default_context(cadata=config.ca or None) if config.tls else None,
    }


def _cluster(config: StoreConfig) -> Cluster:
    profile = ExecutionProfile(
        load_balancing_policy=TokenAwarePolicy(DCAwareRoundRobinPolicy(local_dc=config.datacenter)),
        # Equals LOCAL_ONE with one replica, and keeps "written" true when a replica of several is lost.
        consistency_level=ConsistencyLevel.LOCAL_QUORUM,
        serial_consistency_level=ConsistencyLevel.LOCAL_SERIAL,
        request_timeout=config.request_timeout_seconds,
        row_factory=tuple_factory,
    )
    return Cluster(
        list(config.hosts),
        port=config.port,
        **access(config),
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        protocol_version=PROTOCOL_VERSION,
        compression=False,
        connect_timeout=min(5.0, config.request_timeout_seconds),
        control_connection_timeout=min(5.0, config.request_timeout_seconds),
        # The driver's own pauses reach ten minutes; a server that is back shall be used within seconds.
        reconnection_policy=ExponentialReconnectionPolicy(0.5, 5.0),
        idle_heartbeat_interval=5,
        idle_heartbeat_timeout=5,
    )
