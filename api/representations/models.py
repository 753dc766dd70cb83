"""Jobs and model versions as the API shows them, from Cassandra alone."""

from __future__ import annotations

import json
import math
from typing import Any

from api.http.times import rfc3339
from core.times import HOUR_MS
from storage.driver.session import Store
from storage.tables import model_events, stream_progress
from storage.tables.jobs import JobRow
from storage.tables.model_events import ModelCard, ModelEvent
from storage.tables.shadow_samples import shadowed


def job_shown(row: JobRow) -> dict[str, Any]:
    """One job."""
    return {
        "id": row.job_id,
        "kind": row.kind,
        "state": row.state,
        "progress": {"step": row.step, "fraction": row.fraction},
        "params": json.loads(row.params),
        "requested_by": row.requested_by,
        "filed_time": rfc3339(row.filed_ms),
        "started_time": _time(row.started_ms),
        "ended_time": _time(row.ended_ms),
        "attempts": row.attempts,
        "reason": row.reason,
        "result": None if row.result is None else json.loads(row.result),
    }


def models_document(store: Store, name: str, topic: str) -> dict[str, Any]:
    """The answer of `/models`.

    Raises:
        StoreUnavailable: Cassandra is away.
    """
    aliases = model_events.aliases_of(store, name)
    judges = sorted({found[-1][1] for found in stream_progress.activations(store, topic).values()})
    return {
        "model": name,
        **{alias: _version(aliases.get(alias)) for alias in ("champion", "challenger", "previous")},
        "judges": [str(version) for version in judges],
        "shadow": _shadow_shown(store, aliases),
        "versions": [_card_shown(card, aliases, judges) for card in model_events.cards(store, name)],
        "events": [_event_shown(event) for event in model_events.events(store, name)],
    }


def _card_shown(card: ModelCard, aliases: dict[str, int], judges: list[int]) -> dict[str, Any]:
    return {
        "version": str(card.version),
        "created_time": rfc3339(card.created_ms),
        "run_id": card.run_id,
        "sha256": card.sha256,
        "aliases": sorted(alias for alias, version in aliases.items() if version == card.version),
        "judges": card.version in judges,
        "passed": card.passed,
        "gates": json.loads(card.gates)["gates"] if card.gates else [],
        "job_id": card.job_id,
        "params": json.loads(card.params),
        "metrics": {key: _finite(value) for key, value in json.loads(card.metrics).items()},
    }


def _shadow_shown(store: Store, aliases: dict[str, int]) -> dict[str, Any] | None:
    """How the challenger's verdicts differ from those of the champion beside which it runs."""
    challenger = aliases.get("challenger")
    found = [] if challenger is None else shadowed(store, challenger)
    if not found:
        return None
    row = found[0]
    return {
        "challenger": str(row.challenger),
        "champion": str(row.champion),
        "compared": row.compared,
        "to_flagged": row.to_flagged,
        "to_normal": row.to_normal,
        "start": rfc3339(row.first_hour_ms),
        "end": rfc3339(row.last_hour_ms + HOUR_MS),
    }


def _event_shown(event: ModelEvent) -> dict[str, Any]:
    return {
        "time": rfc3339(event.event_ms),
        "kind": event.kind,
        "version": _version(event.model_version),
        "job_id": event.job_id,
        "reason": event.reason,
        "figures": json.loads(event.figures),
        "requested_by": event.requested_by,
    }


def _version(number: int | None) -> str | None:
    return None if number is None else str(number)


def _time(moment_ms: int | None) -> str | None:
    return None if moment_ms is None else rfc3339(moment_ms)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
