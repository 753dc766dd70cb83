"""Copies what the registry knows into Cassandra, where the API reads it."""

from __future__ import annotations

import msgspec

from core.errors import NotFound
from models.registry.registry import Details, Registry, Version
from storage.driver.session import Store
from storage.tables import model_events
from storage.tables.jobs import active_job
from storage.tables.model_events import ModelCard


def mirror(registry: Registry, store: Store, now_ms: int) -> None:
    """Copy aliases, and a card of every version that has none.

    Raises:
        Retryable: MLflow or Cassandra is away; the next look copies the rest.
    """
    name = registry.model_name
    known = {card.version for card in model_events.cards(store, name)}
    active = active_job(store, name)
    for version in registry.versions():
        if version.number not in known:
            try:
                details = registry.details(version.number)
            except NotFound:
                continue  # its run was deleted; the next look leaves it out again
            made_by = details.tags.get("job")
            if active is not None and active.job_id == made_by:
                continue  # its job writes the card, with what the gates said
            model_events.put_card(store, name, card_of(version, details, None, None, made_by))
    model_events.put_aliases(store, name, registry.aliases(), now_ms)


def card_of(
    version: Version, details: Details, gates: str | None, passed: bool | None, job_id: str | None
) -> ModelCard:
    """A version as people see it."""
    return ModelCard(
        version.number,
        details.created_ms,
        version.run_id,
        version.sha256,
        job_id,
        msgspec.json.encode(details.params).decode(),
        msgspec.json.encode({name: value for name, value in sorted(details.metrics.items())}).decode(),
        gates,
        passed,
    )
