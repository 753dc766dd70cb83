"""What the retrainer does to a recorded run: its own drift check and its own jobs, on the samples the stream stored."""

from __future__ import annotations

import json
from collections.abc import Callable

from core.settings import Settings
from models.registry.registry_mirror import mirror
from models.retraining.drift_check import DriftCheck, limits_from
from models.retraining.job_runner import Ended, JobWork
from storage.tables import jobs
from tests.browser.recorded_run import RecordedRun
from tests.browser.serving import now_ms

OWNER = "tests"
LEASE_SECONDS = 600
SHORT_HOURS = 0.172
"""Long enough to learn from, 600 readings, and too short for the gates: too few faults fit into it, so they refuse."""

ATTEMPTS = 3
"""Retrainings until the gates pass one: which faults they inject is drawn by the job's id."""


def do_job(run: RecordedRun, settings: Settings, watch: Callable[[str], None]) -> Ended:
    """Do the job that waits, as the retrainer does.

    Args:
        run: of which.
        settings: of the retrainer.
        watch: called after each step that was told, with its name.
    """
    name = settings.model_name
    job = jobs.claim(run.store, name, OWNER, LEASE_SECONDS, now_ms())
    assert job is not None, "a job waits"

    def tell(step: str, fraction: float) -> None:
        jobs.tell(run.store, name, job.job_id, OWNER, step, fraction)
        watch(step)

    ended = JobWork(run.store, run.registry, settings, job, tell, now_ms).do()
    result = json.dumps(ended.result)
    jobs.end(run.store, name, job, OWNER, ended.state, ended.reason, now_ms=now_ms(), result=result)
    return ended


def retrain(run: RecordedRun, hours: float) -> Ended:
    """File a retraining on the last hours and do it."""
    settings = run.settings.model_copy(update={"retrain_window_hours": hours})
    jobs.file_job(run.store, settings.model_name, jobs.RETRAIN, requested_by="data_scientist", now_ms=now_ms())
    ended = do_job(run, settings, lambda step: None)
    assert "version" in ended.result, ended
    return ended


def compare_and_retrain(run: RecordedRun) -> None:
    """Check for drift, retrain on too little, so that the gates refuse it, and on all: that is the challenger."""
    settings = run.settings
    mirror(run.registry, run.store, now_ms())
    DriftCheck(run.store, run.registry, settings.sensors, limits_from(settings)).check(now_ms())
    assert retrain(run, SHORT_HOURS).state == jobs.REFUSED
    found = (retrain(run, settings.retrain_window_hours) for _ in range(ATTEMPTS))
    assert any(ended.state == jobs.SUCCEEDED for ended in found), "no version passed the gates"
