"""`/api/v1/jobs` and `/api/v1/models`: what is asked of the retrainer, and what came of it; nothing is trained."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from apiflask import APIBlueprint
from flask import Response, g, jsonify, request

from api.http.body import declare_body, json_object, quote, refuse_body, refuse_strays
from api.http.idempotency import HEADER, claim_key
from api.http.problems import problem
from api.http.request_hooks import add_etag
from api.openapi import ok
from api.representations.jobs import Job, JobFiled, Jobs, Models
from api.services.context import Context
from core.errors import NotFound
from storage.tables import jobs, model_events
from storage.tables.jobs import PROMOTE, RETRAIN, ROLLBACK

PREVIOUS = "previous"
_VERSION = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
ABOUT = (
    f"One job is under way at a time: another is 409 and names it. With an `{HEADER}` the same request again gives the "
    "same job."
)


def job_routes(context: Context) -> APIBlueprint:
    """Jobs are filed and shown; the retrainer carries them out."""
    routes = APIBlueprint("jobs", __name__, url_prefix="/api/v1", tag="Model")
    routes.after_request(add_etag)
    name = context.settings.model_name
    filed = ok("Filed; `Location` says where to look.", Job)

    @routes.post("/jobs")
    @routes.doc(summary="Ask for a retraining", description=ABOUT, responses={202: filed})
    @declare_body(JobFiled)
    def file() -> Response:
        document = json_object()
        refuse_strays(document, ["kind"])
        if document.get("kind") != RETRAIN:
            given = f"is {quote(document['kind'])}" if "kind" in document else "is missing"
            raise refuse_body("kind", "unknown_value", f"kind {given}; expected {RETRAIN}")
        return file_and_show(context, RETRAIN, {})

    @routes.get("/jobs")
    @routes.doc(summary="The last jobs, newest first", responses={200: ok("At most 50.", Jobs)})
    def listed() -> Response:
        return jsonify(Jobs([Job.from_row(row) for row in jobs.jobs(context.store.get(), name)]))

    @routes.get("/jobs/<job_id>")
    @routes.doc(summary="One job", responses={200: ok("How far it is, or how it ended.", Job)})
    def one(job_id: str) -> Response:
        found = jobs.job(context.store.get(), name, job_id)
        if found is None:
            raise NotFound(f"job {job_id!r}")
        return jsonify(Job.from_row(found))

    @routes.get("/models")
    @routes.doc(
        summary="Model versions, what decided about them, and which judges",
        responses={200: ok("The last 100 versions and decisions, newest first.", Models)},
    )
    def models() -> Response:
        return jsonify(Models.read(context.store.get(), name, context.settings.readings_topic))

    @routes.post("/models/<string:version>:promote")
    @routes.doc(
        summary="Let a version that passed the gates judge",
        description=f"{ABOUT} The stream swaps at the next batch.",
        responses={202: filed},
    )
    def promote(version: str) -> Response:
        return file_and_show(context, PROMOTE, {"version": find_version(context, version)})

    @routes.post("/models/<string:version>:rollback")
    @routes.doc(
        summary="Go back to a version that judged before",
        description=f"{ABOUT} `previous` is the champion before this one.",
        responses={202: filed},
    )
    def rollback(version: str) -> Response:
        target = PREVIOUS if version == PREVIOUS else find_version(context, version)
        return file_and_show(context, ROLLBACK, {"version": target})

    return routes


def find_version(context: Context, text: str) -> int:
    """The number of a version that the retrainer knows.

    Raises:
        NotFound: there is none of this name.
    """
    if not _VERSION.fullmatch(text):
        raise NotFound(f"version {text!r}")
    if model_events.card(context.store.get(), context.settings.model_name, int(text)) is None:
        raise NotFound(f"version {text}")
    return int(text)


def file_and_show(context: Context, kind: str, params: dict[str, Any]) -> Response:
    """File a job and answer for it.

    Raises:
        HTTPError: 422 or 409 for a bad or reused key.
    """
    store = context.store.get()
    document = json.dumps({"kind": kind, **params}, sort_keys=True)
    claim_key(store, document.encode())
    role = g.get("role")
    answer = jobs.file_job(
        store,
        context.settings.model_name,
        kind,
        params=json.dumps(params),
        requested_by=role.name.lower() if role else "anybody",
        now_ms=context.now_ms(),
        request=_request(),
        cooldown_ms=round(1000 * context.settings.retrain_pause_seconds) if kind == RETRAIN else 0,
        deadline_seconds=0.0,
    )
    place = {"Location": f"/api/v1/jobs/{answer.job.job_id}"}
    if answer.mine:
        response = jsonify(Job.from_row(answer.job))
        response.status_code = 202
        response.headers.update(place)
        return response
    if answer.wait_ms:
        seconds = -(-answer.wait_ms // 1000)
        said = f"The last retraining has just ended, as job {answer.job.job_id}; ask again in {seconds} s."
        return problem(429, "too-soon", said, {"Retry-After": str(seconds)}, job_id=answer.job.job_id)
    said = f"Job {answer.job.job_id} ({answer.job.kind}) is under way: {answer.job.step}."
    return problem(409, "job-under-way", said, place, job_id=answer.job.job_id)


def _request() -> str | None:
    key = request.headers.get(HEADER)
    if key is None:
        return None
    return hashlib.sha256(f"{g.get('caller', '')}\n{request.path}\n{key}".encode()).hexdigest()
