"""`python -m models.retraining.retrainer`: carry out jobs, look for drift, copy the registry for the API.

Any number may run: a job belongs to whoever holds its lease. What one was doing when it died another does again.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable
from functools import partial

from core.errors import Retryable, StationwatchError
from core.process import DONE, Command, run_command, serve_metrics, start, stop_on_signals
from core.settings import Settings
from models.registry.registry import Registry
from models.registry.registry_mirror import mirror
from models.retraining.drift_check import DriftCheck, limits_from
from models.retraining.job_runner import Ended, JobWork
from models.retraining.metrics import DriftMetrics, RetrainerMetrics
from models.retraining.policy import Policy
from models.retraining.policy_step import follow_policy
from storage.driver.session import Store, StoreConfig, connect
from storage.tables import jobs
from storage.tables.jobs import FAILED, JobRow, LeaseLost

log = logging.getLogger("retrainer")

LEASE_SECONDS, RENEW_SECONDS = 20, 5.0
POLL_SECONDS, MIRROR_SECONDS, AWAY_SECONDS = 1.0, 10.0, 3.0
# A job that takes its process down again and again is not tried for ever.
MOST_ATTEMPTS = 3


def serve(options: argparse.Namespace) -> int:
    """Carry out jobs until SIGTERM or SIGINT."""
    settings, stopping = start(quiet={"cassandra": logging.CRITICAL}), stop_on_signals()
    metrics = RetrainerMetrics()
    print(f"retrainer: metrics at {serve_metrics(metrics.registry, settings, 'retrainer_metrics_port')}", flush=True)
    Retrainer(settings, metrics, stopping).run()
    return DONE


COMMAND = Command("retrainer", "carry out jobs and look for drift", serve, description=__doc__)
main = partial(run_command, COMMAND, "python -m models.retraining.retrainer", __doc__)


class Retrainer:
    """One process.

    Args:
        settings: of this process.
        metrics: served already.
        stopping: set to end it; a job under way is left to the next one.
    """

    def __init__(self, settings: Settings, metrics: RetrainerMetrics, stopping: threading.Event) -> None:
        self._settings, self._metrics, self._stopping = settings, metrics, stopping
        self._policy = Policy.from_settings(settings)
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._drift_metrics = DriftMetrics(metrics.registry)
        self._next_mirror = self._next_check = 0.0
        self._away = False

    def run(self) -> None:
        """Until `stopping` is set; what is away is waited for."""
        store: Store | None = None
        registry: Registry | None = None
        while not self._stopping.is_set():
            try:
                store = store or connect(StoreConfig.from_settings(self._settings), 10.0)
                registry = registry or Registry(
                    self._settings.tracking_uri, self._settings.model_name, self._settings.mlflow_login()
                )
                self._turn(store, registry)
                self._say_away(None)
                pause = POLL_SECONDS
            except StationwatchError as error:
                # A dependency that is away, a schema that is not there yet: none of it mends by dying.
                self._say_away(error)
                pause = AWAY_SECONDS
            self._stopping.wait(pause)
        if store is not None:
            store.close()

    def _turn(self, store: Store, registry: Registry) -> None:
        name = self._settings.model_name
        job = jobs.claim(store, name, self._owner, LEASE_SECONDS, now_ms(), deadline_seconds=0.0)
        if job is not None:
            self._work(store, registry, job)
            self._next_mirror = 0.0
        if time.monotonic() >= self._next_mirror:
            mirror(registry, store, now_ms())
            self._next_mirror = time.monotonic() + MIRROR_SECONDS
        if time.monotonic() >= self._next_check:
            self._look_for_drift(store, registry)

    def _work(self, store: Store, registry: Registry, job: JobRow) -> None:
        log.info("job %s: %s, asked for by %s, attempt %d", job.job_id, job.kind, job.requested_by, job.attempts)
        name, begun = self._settings.model_name, time.monotonic()
        with Lease(store, name, job.job_id, self._owner) as lease:
            try:
                ended = self._outcome(store, registry, job, lease)
                jobs.end(
                    store, name, job, self._owner, ended.state, ended.reason,
                    now_ms=now_ms(), result=json.dumps(ended.result),
                )  # fmt: skip
            except LeaseLost as error:
                log.warning("%s; nothing more is done for it here", error)
                return
        self._metrics.ended(job.kind, ended.state, time.monotonic() - begun)
        log.info("job %s: %s. %s", job.job_id, ended.state, ended.reason)

    def _outcome(self, store: Store, registry: Registry, job: JobRow, lease: Lease) -> Ended:
        if job.attempts > MOST_ATTEMPTS:
            return Ended(FAILED, f"It was begun {MOST_ATTEMPTS} times and never ended; see the retrainer's log.", {})

        def tell(step: str, fraction: float) -> None:
            lease.check()
            log.info("job %s: %s", job.job_id, step)
            jobs.tell(store, self._settings.model_name, job.job_id, self._owner, step, fraction)

        try:
            return JobWork(store, registry, self._settings, job, tell, now_ms).do()
        except (Retryable, LeaseLost):
            raise
        except StationwatchError as error:
            return Ended(FAILED, str(error), {})
        except Exception:
            log.exception("job %s failed in a way nobody foresaw", job.job_id)
            return Ended(FAILED, "It failed in a way nobody foresaw; the retrainer's log has the cause.", {})

    def _look_for_drift(self, store: Store, registry: Registry) -> None:
        """Check, and follow the policy; a champion that cannot be opened is told of, and looked at again next time."""
        try:
            self._check_drift(store, registry)
        except Retryable:
            raise
        except StationwatchError as error:
            log.error("drift cannot be checked: %s", error)
        self._next_check = time.monotonic() + 60.0 * self._settings.drift_check_minutes

    def _check_drift(self, store: Store, registry: Registry) -> None:
        check = DriftCheck(store, registry, self._settings.sensors, limits_from(self._settings))
        report = check.check(now_ms())
        if report is None:
            return
        self._drift_metrics.show(report)
        follow_policy(store, registry, self._policy, report, now_ms())

    def _say_away(self, error: Exception | None) -> None:
        if error is not None and not self._away:
            log.warning("waiting: %s", error)
        if error is None and self._away:
            log.info("all that is needed answers again")
        self._away = error is not None


class Lease:
    """Holds a claimed job by renewing its lease in the background, until the block ends.

    Args:
        store: where.
        name: the registered model.
        job_id: the job, claimed by `owner`.
        owner: this process.
    """

    def __init__(self, store: Store, name: str, job_id: str, owner: str) -> None:
        self._renew: Callable[[], None] = lambda: jobs.renew(store, name, job_id, owner, LEASE_SECONDS)
        self._job_id = job_id
        self._done = threading.Event()
        self._lost = threading.Event()
        self._held_until = time.monotonic() + LEASE_SECONDS
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def check(self) -> None:
        """Look whether the job is still ours.

        Raises:
            LeaseLost: it is not, or Cassandra was away for so long that it may not be.
        """
        if self._lost.is_set() or time.monotonic() > self._held_until:
            raise LeaseLost(f"job {self._job_id}: the lease lapsed")

    def _keep(self) -> None:
        while not self._done.wait(RENEW_SECONDS):
            begun = time.monotonic()
            try:
                self._renew()
                self._held_until = begun + LEASE_SECONDS
            except LeaseLost:
                self._lost.set()
                return
            except Retryable as error:
                log.warning("the lease could not be renewed: %s", error)


def now_ms() -> int:
    """The wall clock, ms since the epoch."""
    return time.time_ns() // 1_000_000


if __name__ == "__main__":
    sys.exit(main())
