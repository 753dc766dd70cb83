"""Tables `model_artifacts` and `model_versions`: the bytes of detectors and priors, and which version they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from core.errors import ArtefactRefused, NotFound
from storage.driver.cql_encoding import binder
from storage.driver.retry import DEADLINE_SECONDS, OnWait, Patience
from storage.driver.session import Store, statement
from storage.driver.writes import write_all

CHUNK_BYTES = 512 * 1024
# 2 MiB on the way at once: Cassandra bounds the bytes of unanswered requests by a share of its heap.
CHUNKS_IN_FLIGHT = 4


class VersionRow(NamedTuple):
    """A registered model version: its artefact and the MLflow run that made it. Times in ms since the epoch."""

    name: str
    version: int
    sha256: str
    run_id: str
    registered_ms: int


INSERT_CHUNK = statement("INSERT INTO model_artifacts (sha256, chunk, data) VALUES (?, ?, ?)")
INSERT_HEAD = statement("INSERT INTO model_artifacts (sha256, kind, chunks) VALUES (?, ?, ?)")
SELECT_HEAD = statement("SELECT kind, chunks FROM model_artifacts WHERE sha256 = ? LIMIT 1")
SELECT_CHUNKS = statement("SELECT chunk, data FROM model_artifacts WHERE sha256 = ?")
INSERT_VERSION = statement("""
INSERT INTO model_versions (name, version, sha256, run_id, registered_time) VALUES (?, ?, ?, ?, ?) IF NOT EXISTS""")
_SELECT = "SELECT name, version, sha256, run_id, toUnixTimestamp(registered_time) FROM model_versions WHERE name = ?"
SELECT_VERSIONS = statement(_SELECT)
SELECT_VERSION = statement(_SELECT + " AND version = ?")


def put_artefact(
    store: Store, kind: str, data: bytes, deadline_seconds: float = DEADLINE_SECONDS, on_wait: OnWait | None = None
) -> str:
    """Store `data` under its sha256, which is returned. Again is harmless.

    The head is written last, so that a half-written artefact is one that is not there.
    """
    patience = Patience(deadline_seconds, on_wait)
    sha256 = hashlib.sha256(data).hexdigest()
    head = patience.call(store.one, SELECT_HEAD, (sha256,))
    if head is not None and head[1] is not None:
        return sha256
    bind = binder(patience.call(store.prepared, INSERT_CHUNK))
    chunks = list(_chunks(data))
    statements = (bind((sha256, number, chunk)) for number, chunk in enumerate(chunks))
    write_all(store, statements, patience.remaining(), on_wait, CHUNKS_IN_FLIGHT)
    patience.call(store.one, INSERT_HEAD, (sha256, kind, len(chunks)))
    return sha256


def get_artefact(store: Store, sha256: str) -> tuple[str, bytes]:
    """The kind and the bytes of an artefact, verified.

    Raises:
        NotFound: no such artefact, or one that was never completely written.
        ArtefactRefused: the stored bytes are not those of `sha256`.
    """
    head = store.one(SELECT_HEAD, (sha256,))
    if head is None or head[1] is None:
        raise NotFound(f"artefact {sha256} in keyspace {store.config.keyspace}")
    kind, chunks = head
    rows = store.rows(SELECT_CHUNKS, (sha256,), page_rows=CHUNKS_IN_FLIGHT)
    parts = [data for _, data in rows if data is not None]
    data = b"".join(parts)
    if len(parts) != chunks or hashlib.sha256(data).hexdigest() != sha256:
        raise ArtefactRefused(
            f"artefact {sha256} in keyspace {store.config.keyspace} is damaged: {len(parts)} of {chunks} chunks, "
            f"{len(data)} bytes of another hash; register the version again from MLflow"
        )
    return kind, data


def put_version(
    store: Store,
    name: str,
    version: int,
    sha256: str,
    run_id: str,
    now_ms: int,
    deadline_seconds: float = DEADLINE_SECONDS,
    on_wait: OnWait | None = None,
) -> VersionRow:
    """Record which artefact a model version is. Again is harmless; a version never changes.

    Returns:
        The row that holds: this one, or the equal one recorded before.

    Raises:
        ArtefactRefused: the version is recorded with another artefact.
    """
    wanted = VersionRow(name, version, sha256, run_id, now_ms)

    def put() -> VersionRow:
        store.one(INSERT_VERSION, wanted)
        return _version(store, name, version)

    stored = Patience(deadline_seconds, on_wait).call(put)
    if stored.sha256 != sha256:
        raise ArtefactRefused(
            f"{name} version {version} is artefact {stored.sha256} in keyspace {store.config.keyspace}, not {sha256}: "
            "this keyspace belongs to another registry"
        )
    return stored


def version(store: Store, name: str, version: int) -> VersionRow:
    """One registered version.

    Raises:
        NotFound: it was never recorded here.
    """
    return _version(store, name, version)


def versions(store: Store, name: str) -> list[VersionRow]:
    """All registered versions of a model, by number."""
    return [VersionRow._make(row) for row in store.rows(SELECT_VERSIONS, (name,))]


def _version(store: Store, name: str, number: int) -> VersionRow:
    row = store.one(SELECT_VERSION, (name, number))
    if row is None:
        raise NotFound(f"{name} version {number} in keyspace {store.config.keyspace}")
    return VersionRow._make(row)


def _chunks(data: bytes) -> Iterator[bytes]:
    for start in range(0, max(len(data), 1), CHUNK_BYTES):
        yield data[start : start + CHUNK_BYTES]
