"""Table `jobs`: what the retrainer is asked to do. One job at a time, whoever asks, however many ask at once.

Every write is a lightweight transaction in the model's own partition. Filing sets `active` and `newest` together with
the job's row, and ending clears `active` together with its state, so that no crash can part them. The lease is the cell
`owner` with a time to live: no clock but Cassandra's decides who is dead.
"""

from __future__ import annotations

import secrets
from typing import NamedTuple

from core.errors import StationwatchError
from storage.driver.retry import DEADLINE_SECONDS, Patience
from storage.driver.session import Statement, Store, statement

RETRAIN, PROMOTE, ROLLBACK = "retrain", "promote", "rollback"
KINDS = (RETRAIN, PROMOTE, ROLLBACK)
QUEUED, RUNNING, SUCCEEDED, FAILED, REFUSED = "queued", "running", "succeeded", "failed", "refused"
STATES = (QUEUED, RUNNING, SUCCEEDED, FAILED, REFUSED)
# How far back a repeated request or a cool-down is looked for.
RECENT = 50


class LeaseLost(StationwatchError):
    """Another process has taken the job over: stop at once and change nothing more."""


class JobRow(NamedTuple):
    """One job. Times in ms since the epoch, `fraction` in [0, 1]; `params` and `result` are JSON."""

    job_id: str
    kind: str
    state: str
    params: str
    requested_by: str
    request: str | None
    filed_ms: int
    started_ms: int | None
    ended_ms: int | None
    attempts: int
    owner: str | None
    step: str
    fraction: float
    result: str | None
    reason: str | None

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state not in (QUEUED, RUNNING)


class Filed(NamedTuple):
    """The answer to a filing.

    Args:
        job: the one filed; or the one that is in the way, or that came too recently.
        mine: whether it is the one asked for, filed by this call or by the same request before.
        wait_ms: how long the cool-down still lasts, 0 when it is not in the way.
    """

    job: JobRow
    mine: bool
    wait_ms: int = 0


_COLUMNS = """
SELECT job_id, kind, state, params, requested_by, request, toUnixTimestamp(filed_time), toUnixTimestamp(started_time),
    toUnixTimestamp(ended_time), attempts, owner, step, fraction, result, reason
FROM jobs WHERE name = ?"""
SELECT_RECENT = statement(_COLUMNS + " LIMIT ?")
SELECT_ONE = statement(_COLUMNS + " AND job_id = ?")
SELECT_HEAD = statement("SELECT active, newest FROM jobs WHERE name = ? LIMIT 1")
FILE = statement("""
BEGIN BATCH
UPDATE jobs SET active = ?, newest = ? WHERE name = ? IF active = null AND newest = ?;
INSERT INTO jobs (name, job_id, kind, state, params, requested_by, request, filed_time, attempts, step, fraction)
VALUES (?, ?, ?, 'queued', ?, ?, ?, ?, 0, 'waits for the retrainer', 0.0);
APPLY BATCH""")
CLAIM = statement("""
BEGIN BATCH
UPDATE jobs USING TTL ? SET owner = ? WHERE name = ? AND job_id = ? IF owner = null AND state IN ('queued', 'running');
UPDATE jobs SET state = 'running', started_time = ?, attempts = ? WHERE name = ? AND job_id = ?;
APPLY BATCH""")
RENEW = statement("UPDATE jobs USING TTL ? SET owner = ? WHERE name = ? AND job_id = ? IF owner = ?")
TELL = statement("UPDATE jobs SET step = ?, fraction = ? WHERE name = ? AND job_id = ? IF owner = ?")
END = statement("""
BEGIN BATCH
UPDATE jobs SET active = null WHERE name = ? IF active = ?;
UPDATE jobs SET state = ?, ended_time = ?, result = ?, reason = ?, step = ?, fraction = ?, owner = null
WHERE name = ? AND job_id = ? IF owner = ?;
APPLY BATCH""")


def file_job(
    store: Store,
    name: str,
    kind: str,
    *,
    params: str = "{}",
    requested_by: str,
    now_ms: int,
    request: str | None = None,
    cooldown_ms: int = 0,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> Filed:
    """File a job unless one is under way.

    Args:
        store: where.
        name: the registered model.
        kind: one of `KINDS`.
        params: of the job, JSON.
        requested_by: a role, or `policy: why`.
        now_ms: ms since the epoch.
        request: identifies the request; one that came before gives the job it filed then.
        cooldown_ms: since the last job of this kind ended, unless 0.
        deadline_seconds: how long trouble is waited out, s.

    Raises:
        StoreUnavailable: whether it was filed is not known; ask again with the same `request`.
    """
    job_id = f"{now_ms:013d}-{secrets.token_hex(4)}"

    def attempt() -> Filed:
        # Each round somebody filed or ended a job meanwhile, else it would not have failed.
        while True:
            active, newest = _head(store, name)
            recent = jobs(store, name)
            known = next((row for row in recent if row.job_id == job_id or (request and row.request == request)), None)
            if known is not None:
                return Filed(known, True)
            blocking = next((row for row in recent if row.job_id == active), None)
            if blocking is not None:
                return Filed(blocking, False)
            last = next((row for row in recent if row.kind == kind and row.ended_ms is not None), None)
            if last is not None and last.ended_ms is not None and now_ms - last.ended_ms < cooldown_ms:
                return Filed(last, False, cooldown_ms - max(0, now_ms - last.ended_ms))
            row = (name, job_id, kind, params, requested_by, request, now_ms)
            store.one(FILE, (job_id, job_id, name, newest, *row))

    return Patience(deadline_seconds).call(attempt)


def active_job(store: Store, name: str) -> JobRow | None:
    """Return the job that is queued or running."""
    active, _ = _head(store, name)
    return None if active is None else job(store, name, active)


def jobs(store: Store, name: str, limit: int = RECENT) -> list[JobRow]:
    """Return the last jobs, newest first."""
    return [JobRow._make(row) for row in store.rows(SELECT_RECENT, (name, limit)) if row[0] is not None]


def job(store: Store, name: str, job_id: str) -> JobRow | None:
    """Return one job, None when there is none of this id."""
    row = store.one(SELECT_ONE, (name, job_id))
    return None if row is None else JobRow._make(row)


def claim(
    store: Store, name: str, owner: str, ttl_seconds: int, now_ms: int, deadline_seconds: float = DEADLINE_SECONDS
) -> JobRow | None:
    """Take the job that waits, or whose owner is dead.

    Args:
        store: where.
        name: the registered model.
        owner: unique to this process.
        ttl_seconds: without renewal the lease lapses after this, s.
        now_ms: ms since the epoch.
        deadline_seconds: how long trouble is waited out, s.

    Returns:
        The job, None when there is none for us.
    """

    def attempt() -> JobRow | None:
        found = active_job(store, name)
        if found is None or found.over or found.owner not in (None, owner):
            return None
        keys = (name, found.job_id)
        if found.owner is None:
            store.one(CLAIM, (ttl_seconds, owner, *keys, now_ms, found.attempts + 1, *keys))
        else:
            # Ours, and begun again after an outage: that is no further attempt.
            store.one(RENEW, (ttl_seconds, owner, *keys, owner))
        # Read in any case: an answer lost on the way leaves open who has it, and the row alone knows.
        taken = job(store, name, found.job_id)
        return taken if taken is not None and taken.owner == owner and not taken.over else None

    return Patience(deadline_seconds).call(attempt)


def renew(store: Store, name: str, job_id: str, owner: str, ttl_seconds: int) -> None:
    """Hold the lease for another `ttl_seconds`.

    Raises:
        LeaseLost: it lapsed, and another may have the job.
        StoreUnavailable: Cassandra is away; it may have been renewed.
    """
    _applied(store, RENEW, (ttl_seconds, owner, name, job_id, owner), job_id)


def tell(store: Store, name: str, job_id: str, owner: str, step: str, fraction: float) -> None:
    """Say how far the job is.

    Raises:
        LeaseLost: another may have the job.
    """
    _applied(store, TELL, (step, fraction, name, job_id, owner), job_id)


def end(
    store: Store,
    name: str,
    found: JobRow,
    owner: str,
    state: str,
    reason: str,
    *,
    now_ms: int,
    result: str = "{}",
    deadline_seconds: float = DEADLINE_SECONDS,
) -> None:
    """Say how the job ended; from then on another can be filed.

    Args:
        store: where.
        name: the registered model.
        found: the job.
        owner: who has worked on it.
        state: `SUCCEEDED`, `FAILED` or `REFUSED`.
        reason: one sentence.
        now_ms: ms since the epoch.
        result: JSON.
        deadline_seconds: how long trouble is waited out, s.

    Raises:
        LeaseLost: another may have the job; it is not ended.
    """
    fraction = 1.0 if state == SUCCEEDED else found.fraction
    keys = (name, found.job_id)

    def attempt() -> None:
        row = store.one(END, (*keys, state, now_ms, result, reason, state, fraction, *keys, owner))
        if row is not None and row[0]:
            return
        known = job(store, name, found.job_id)
        if known is None or known.state != state:
            raise LeaseLost(f"job {found.job_id} is no longer ours ({owner})")

    Patience(deadline_seconds).call(attempt)


def _head(store: Store, name: str) -> tuple[str | None, str | None]:
    row = store.one(SELECT_HEAD, (name,))
    return (None, None) if row is None else (row[0], row[1])


def _applied(store: Store, cql: Statement, values: tuple[object, ...], job_id: str) -> None:
    row = store.one(cql, values)
    if row is None or not row[0]:
        raise LeaseLost(f"job {job_id} is no longer ours")
