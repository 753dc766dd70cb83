"""The stored judges of a keyspace: its prior, its model versions, and which of them judges which offset."""

from __future__ import annotations

import hashlib
from collections import defaultdict

from cassandra.cluster import Session

from core.settings import Settings
from models.scoring.artefact import load
from models.scoring.station_prior import Prior
from tests.oracle.recompute import Judging
from tests.oracle.tables import Row, scan


def stored_judging(session: Session, settings: Settings) -> Judging:
    """Load what judges the readings of `settings.cassandra_keyspace`.

    Args:
        session: the oracle's own.
        settings: name the keyspace, the topic, the model and the sensors.
    """
    keyspace, topic = settings.cassandra_keyspace, settings.readings_topic
    artefacts = _artefacts(scan(session, keyspace, "model_artifacts"))
    (identity,) = [row for row in scan(session, keyspace, "stream_identity") if row["topic"] == topic]
    versions = [row for row in scan(session, keyspace, "model_versions") if row["name"] == settings.model_name]
    activations = defaultdict(list)
    for row in scan(session, keyspace, "model_activations"):
        if row["topic"] == topic:
            activations[row["kafka_partition"]].append((row["from_offset"], row["model_version"]))
    return Judging(
        sensors=settings.sensors,
        prior=Prior.from_bytes(artefacts[identity["prior_sha256"]]),
        versions={row["version"]: load(artefacts[row["sha256"]], row["sha256"]).detector for row in versions},
        activations=dict(activations),
    )


def _artefacts(rows: list[Row]) -> dict[str, bytes]:
    """sha256 → bytes, of the complete ones."""
    parts: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        parts[row["sha256"]].append(row)
    whole = {
        sha256: b"".join(part["data"] for part in sorted(found, key=lambda part: part["chunk"]))
        for sha256, found in parts.items()
        if found[0]["chunks"] == len(found)
    }
    return {sha256: data for sha256, data in whole.items() if hashlib.sha256(data).hexdigest() == sha256}
