"""The model's page: who judges, what wants to, what the gates said, how far the plant has moved."""

from __future__ import annotations

from typing import Any

import msgspec
from flask import g

from api.representations.drift import DriftCheck
from api.representations.jobs import Job, Models, ModelVersion
from api.security.auth import role_needed
from api.services.context import Context
from core.times import DAY_MS
from storage.driver.session import Store
from storage.tables import drift_reports, jobs

VERSIONS_SHOWN, EVENTS_SHOWN = 12, 12


def model_view(store: Store, context: Context, now_ms: int) -> dict[str, Any]:
    """What the page shows.

    Raises:
        StoreUnavailable: Cassandra is away.
    """
    name = context.settings.model_name
    document = Models.read(store, name, context.settings.readings_topic)
    recent = jobs.jobs(store, name, 1)
    checks = drift_reports.summaries(store, name, now_ms - 7 * DAY_MS, now_ms + DAY_MS)
    newest = DriftCheck.from_row(checks[0]) if checks else None
    return {
        "document": document,
        "versions": [_row(version) for version in document.versions[:VERSIONS_SHOWN]],
        "events": document.events[:EVENTS_SHOWN],
        "job": Job.from_row(recent[0]) if recent else None,
        "busy": bool(recent) and not recent[0].over,
        "drift": newest,
        "drifts": _drifts(newest),
        "may": _may(),
    }


def _may() -> bool:
    role = g.get("role")
    return role is None or role >= role_needed("jobs.file", "POST")


def _row(version: ModelVersion) -> dict[str, Any]:
    gates = [{**gate, "figures": _told(gate["figures"])} for gate in version.gates]
    params = version.params
    trained = params.get("samples_used") or params.get("forest_rows") or "?"
    return {
        **msgspec.structs.asdict(version),
        "gates": gates,
        "trained": f"{trained} readings, {params.get('trees', '?')} trees",
    }


def _told(figures: dict[str, float]) -> list[tuple[str, str]]:
    return [(name.replace("_", " "), f"{value:.3g}") for name, value in sorted(figures.items())]


def _drifts(check: DriftCheck | None) -> list[tuple[str, float, int]]:
    """Feature, effect, and the length of its bar in percent: 1 standard deviation fills it."""
    if check is None:
        return []
    effects = sorted(check.effects.items(), key=lambda item: -abs(item[1]))
    return [(name, effect, min(100, round(100 * abs(effect)))) for name, effect in effects]
