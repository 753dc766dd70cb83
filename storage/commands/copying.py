"""Copy what judges readings to another keyspace, so that a replay into it judges every reading as before."""

from __future__ import annotations

from typing import NamedTuple

from core.errors import StreamIdentityMismatch
from storage.driver.retry import Patience
from storage.driver.session import Store, statement
from storage.tables.artefacts import get_artefact, put_artefact, put_version, versions
from storage.tables.stream_progress import (
    StreamIdentity,
    activate,
    activations,
    claim_identity,
    mark_started,
    progress,
    stream_identity,
)

# These tables hold a handful of rows; only this command reads them whole.
SELECT_TOPICS = statement("SELECT topic FROM stream_identity")
SELECT_NAMES = statement("SELECT DISTINCT name FROM model_versions")
SELECT_ARTEFACTS = statement("SELECT DISTINCT sha256 FROM model_artifacts")
SELECT_ACTIVATED = statement("""
SELECT kafka_partition, from_offset, model_version, toUnixTimestamp(activated_time)
FROM model_activations WHERE topic = ?""")


class Copied(NamedTuple):
    """How many of each were copied, or were there already."""

    artefacts: int
    versions: int
    activations: int
    identities: int


def copy_judging(source: Store, target: Store, patience: Patience | None = None) -> Copied:
    """Copy artefacts, versions, activations and, last, the stream's identity. Again is harmless.

    Args:
        source: keyspace whose stream judged the readings.
        target: keyspace with the tables in place, and no stream of another identity.
        patience: how long trouble is waited out.

    Raises:
        StreamIdentityMismatch: the target belongs to another stream, or has activations that the source lacks.
    """
    patience = patience or Patience()
    identities = patience.call(_identities, source)
    for identity in identities:
        patience.call(_refuse_another, source, target, identity)
    copied_artefacts = _copy_artefacts(source, target, patience)
    copied_versions = _copy_versions(source, target, patience)
    copied_activations = sum(_copy_activations(source, target, identity.topic, patience) for identity in identities)
    for identity in identities:
        _copy_started(source, target, identity.topic, patience)
        claim_identity(target, identity, patience.remaining())
    return Copied(copied_artefacts, copied_versions, copied_activations, len(identities))


def _copy_started(source: Store, target: Store, topic: str, patience: Patience) -> None:
    """Say in the target how far the source ever began: a swap during the replay then takes effect behind that."""
    partitions = patience.call(progress, source, topic).partitions
    begun = {partition: row.started_to for partition, row in partitions.items() if row.started_to is not None}
    mark_started(target, topic, begun, patience.remaining())


def _identities(source: Store) -> list[StreamIdentity]:
    found = [stream_identity(source, topic) for (topic,) in source.rows(SELECT_TOPICS)]
    return [identity for identity in found if identity is not None]


def _refuse_another(source: Store, target: Store, identity: StreamIdentity) -> None:
    there = stream_identity(target, identity.topic)
    where = f"topic {identity.topic} in keyspace {target.config.keyspace}"
    if there is not None and there[:-1] != identity[:-1]:
        raise StreamIdentityMismatch(f"{where} has another identity: {there}, not {identity}; choose an empty one")
    mine = activations(source, identity.topic)
    for partition, held in activations(target, identity.topic).items():
        foreign = sorted(set(held) - set(mine.get(partition, [])))
        if foreign:
            raise StreamIdentityMismatch(
                f"{where}, partition {partition}, has activations (from_offset, version) of its own: {foreign}; "
                "choose an empty keyspace"
            )


def _copy_artefacts(source: Store, target: Store, patience: Patience) -> int:
    hashes = patience.call(lambda: [sha256 for (sha256,) in source.rows(SELECT_ARTEFACTS)])
    for sha256 in hashes:
        kind, data = patience.call(get_artefact, source, sha256)
        put_artefact(target, kind, data, patience.remaining())
    return len(hashes)


def _copy_versions(source: Store, target: Store, patience: Patience) -> int:
    rows = patience.call(lambda: [row for (name,) in source.rows(SELECT_NAMES) for row in versions(source, name)])
    for row in rows:
        put_version(target, *row, deadline_seconds=patience.remaining())
    return len(rows)


def _copy_activations(source: Store, target: Store, topic: str, patience: Patience) -> int:
    rows = patience.call(lambda: list(source.rows(SELECT_ACTIVATED, (topic,))))
    for partition, from_offset, version, activated_ms in rows:
        activate(target, topic, {partition: from_offset}, version, activated_ms, patience.remaining())
    return len(rows)
