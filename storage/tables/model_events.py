"""Tables of a model's life for people: `model_events`, `model_cards`, `model_aliases`, `maintenance`.

MLflow is where versions and aliases are; the retrainer copies here what the API shows, which may not ask MLflow.
"""

from __future__ import annotations

from typing import NamedTuple

from storage.driver.session import Store, statement

EVENTS_SHOWN = 100
TRAINED, GATED, PROMOTED, ROLLED_BACK, REFUSED = "trained", "gated", "promoted", "rolled_back", "refused"
FILED, HELD_BACK = "filed", "held_back"  # by the policy
EVENT_KINDS = (TRAINED, GATED, PROMOTED, ROLLED_BACK, REFUSED, FILED, HELD_BACK)


class ModelEvent(NamedTuple):
    """One decision. `event_id` sorts by time, and the same decision taken again has the same; `figures` is JSON."""

    event_id: str
    event_ms: int
    kind: str
    model_version: int | None
    job_id: str | None
    reason: str
    figures: str
    requested_by: str | None


class ModelCard(NamedTuple):
    """What is known of a version. Times in ms since the epoch; `params`, `metrics` and `gates` are JSON.

    `passed` is None for a version that never met the gates: the first one of a plant.
    """

    version: int
    created_ms: int
    run_id: str
    sha256: str
    job_id: str | None
    params: str
    metrics: str
    gates: str | None
    passed: bool | None


class Maintenance(NamedTuple):
    """Readings of a station that no training takes, by event time, half-open, ms since the epoch."""

    station_id: str
    start_ms: int
    end_ms: int
    reason: str


INSERT_EVENT = statement("""
INSERT INTO model_events (name, event_id, event_time, kind, model_version, job_id, reason, figures, requested_by)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)""")
SELECT_EVENTS = statement("""
SELECT event_id, toUnixTimestamp(event_time), kind, model_version, job_id, reason, figures, requested_by
FROM model_events WHERE name = ? LIMIT ?""")
INSERT_CARD = statement("""
INSERT INTO model_cards (name, version, created_time, run_id, sha256, job_id, params, metrics, gates, passed)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""")
SELECT_CARDS = statement("""
SELECT version, toUnixTimestamp(created_time), run_id, sha256, job_id, params, metrics, gates, passed
FROM model_cards WHERE name = ? LIMIT ?""")
SELECT_CARD = statement(SELECT_CARDS.replace(" LIMIT ?", " AND version = ?"))
INSERT_ALIAS = statement("INSERT INTO model_aliases (name, alias, version, seen_time) VALUES (?, ?, ?, ?)")
DELETE_ALIAS = statement("DELETE FROM model_aliases WHERE name = ? AND alias = ?")
SELECT_ALIASES = statement("SELECT alias, version FROM model_aliases WHERE name = ?")
INSERT_MAINTENANCE = statement("""
INSERT INTO maintenance (name, station_id, start_time, end_time, reason) VALUES (?, ?, ?, ?, ?)""")
DELETE_MAINTENANCE = statement("DELETE FROM maintenance WHERE name = ? AND station_id = ? AND start_time = ?")
SELECT_MAINTENANCE = statement("""
SELECT station_id, toUnixTimestamp(start_time), toUnixTimestamp(end_time), reason FROM maintenance WHERE name = ?""")


def put_event(store: Store, name: str, event: ModelEvent) -> None:
    """Write a decision; again is harmless."""
    store.one(INSERT_EVENT, (name, *event))


def events(store: Store, name: str, limit: int = EVENTS_SHOWN) -> list[ModelEvent]:
    """Return the last decisions, newest first."""
    return [ModelEvent._make(row) for row in store.rows(SELECT_EVENTS, (name, limit))]


def put_card(store: Store, name: str, card: ModelCard) -> None:
    """Write what is known of a version; again is harmless."""
    store.one(INSERT_CARD, (name, *card))


def cards(store: Store, name: str, limit: int = EVENTS_SHOWN) -> list[ModelCard]:
    """Return the last versions, newest first."""
    return [ModelCard._make(row) for row in store.rows(SELECT_CARDS, (name, limit))]


def card(store: Store, name: str, version: int) -> ModelCard | None:
    """Return one version, None when the retrainer never saw it."""
    row = store.one(SELECT_CARD, (name, version))
    return None if row is None else ModelCard._make(row)


def put_aliases(store: Store, name: str, aliases: dict[str, int], now_ms: int) -> None:
    """Write which version each alias points to; an alias that is not named is gone."""
    for alias in aliases_of(store, name).keys() - aliases.keys():
        store.one(DELETE_ALIAS, (name, alias))
    for alias, version in aliases.items():
        store.one(INSERT_ALIAS, (name, alias, version, now_ms))


def aliases_of(store: Store, name: str) -> dict[str, int]:
    """Return the version of each alias, as the retrainer last saw them."""
    return {alias: int(version) for alias, version in store.rows(SELECT_ALIASES, (name,))}


def put_maintenance(store: Store, name: str, entry: Maintenance) -> None:
    """Leave a station's readings of a time out of later trainings; again is harmless."""
    store.one(INSERT_MAINTENANCE, (name, *entry))


def delete_maintenance(store: Store, name: str, station_id: str, start_ms: int) -> None:
    """Let later trainings learn from them again; again is harmless."""
    store.one(DELETE_MAINTENANCE, (name, station_id, start_ms))


def maintenance(store: Store, name: str) -> list[Maintenance]:
    """Return every entry, by station."""
    return [Maintenance._make(row) for row in store.rows(SELECT_MAINTENANCE, (name,))]
