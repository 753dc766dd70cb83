"""What the retrainer does after a drift check: it asks the policy, files the job, and writes down what was decided."""

from __future__ import annotations

import json
import logging

from models.drift.report import DriftReport
from models.registry.registry import Registry
from models.retraining.policy import Decision, Policy, decide
from storage.driver.session import Store
from storage.tables import jobs
from storage.tables.model_events import FILED, HELD_BACK, ModelEvent, put_event

log = logging.getLogger("retrainer")


def follow_policy(store: Store, registry: Registry, policy: Policy, report: DriftReport, now_ms: int) -> Decision:
    """File a retraining if the policy says so. With the policy off nothing is decided, and nothing written.

    Args:
        store: with the jobs, and for the events.
        registry: knows when the champion was trained.
        policy: the settings.
        report: of the check just made.
        now_ms: the clock, ms since the epoch.

    Raises:
        Retryable: Cassandra or MLflow is away; the next check decides again.
    """
    name = registry.model_name
    active = jobs.active_job(store, name)
    decision = decide(
        policy,
        now_ms=now_ms,
        report=report,
        last_retraining_ms=_last_retraining(store, registry),
        busy=active.job_id if active else None,
    )
    if not policy.automatic or decision.action == "nothing":
        return decision
    log.info("the policy says %s: %s", decision.action, decision.reason)
    job_id, kind = None, HELD_BACK
    if decision.action == "file":
        filed = jobs.file_job(store, name, jobs.RETRAIN, requested_by=f"policy: {decision.trigger}", now_ms=now_ms)
        job_id, kind = filed.job.job_id, FILED if filed.mine else HELD_BACK
    figures = {"trigger": decision.trigger, "answer": report.answer, "persistent": report.persistent}
    # A job's own events begin with its id, which is the same moment and a dash: filing sorts before them.
    event = ModelEvent(
        f"{now_ms:013d} policy", now_ms, kind, report.model_version, job_id, decision.reason, json.dumps(figures),
        "policy",
    )  # fmt: skip
    put_event(store, name, event)
    return decision


def _last_retraining(store: Store, registry: Registry) -> int | None:
    """When a retraining was last filed, else when the champion was made."""
    filed = max(
        (row.filed_ms for row in jobs.jobs(store, registry.model_name) if row.kind == jobs.RETRAIN), default=None
    )
    if filed is not None:
        return filed
    champion = registry.champion()
    return None if champion is None else registry.details(champion.number).created_ms
