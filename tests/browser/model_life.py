"""What the retrainer does to a recorded run: its own drift check and its own jobs, on the samples the stream stored."""

from __future__ import annotations

import json
from collections.abc import Callable

from core.settings import Settings
from models.registry.registry import CHALLENGER
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


def compare_and_retrain(run: RecordedRun) -> None:
    """Check for drift, retrain on so little that the gates refuse the version, and let it judge beside the champion.

    The alias is moved in the registry, as people may do: whether the gates pass a version of so short a run is chance.
    """
    name, registry = run.settings.model_name, run.registry
    mirror(registry, run.store, now_ms())
    DriftCheck(run.store, registry, run.settings.sensors, limits_from(run.settings)).check(now_ms())
    jobs.file_job(run.store, name, jobs.RETRAIN, requested_by="data_scientist", now_ms=now_ms())
    settings = run.settings.model_copy(update={"retrain_window_hours": SHORT_HOURS})
    ended = do_job(run, settings, lambda step: None)
    assert ended.state == jobs.REFUSED and "version" in ended.result, ended
    registry.set_alias(CHALLENGER, registry.version(ended.result["version"]))
    mirror(registry, run.store, now_ms())
