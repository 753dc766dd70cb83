"""Holds every answer that a test sees against the schema that /openapi.json declares for it."""

from __future__ import annotations

import json
import time
from functools import cache
from typing import Any

from apiflask import APIFlask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator, FormatChecker
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

from tests.waiting import PATIENCE_SECONDS

RETRY_SECONDS = 0.5


class CheckedClient(FlaskClient):
    """A test client whose answers must be those of the contract."""

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        answer = super().open(*args, **kwargs)
        check(self.application, answer)  # type: ignore[arg-type]
        return answer


class PatientClient(CheckedClient):
    """A client that sends a request again after a 503, as clients do: on a busy machine Cassandra misses a deadline.

    A repeated request must be harmless: a GET, or one with an `Idempotency-Key`.
    """

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            answer = super().open(*args, **kwargs)
            if answer.status_code != 503 or time.monotonic() > deadline:
                return answer
            assert int(answer.headers["Retry-After"]) > 0, "a refusal that passes by itself says when"
            time.sleep(RETRY_SECONDS)


def check(app: APIFlask, answer: TestResponse) -> None:
    """Fail unless the answer's status, type and document are declared for its address."""
    operation = operation_of(app, answer.request.method, answer.request.path)
    if operation is None or answer.status_code in (304, 308):
        return
    declared = operation["responses"].get(str(answer.status_code), operation["responses"].get("default"))
    where = f"{answer.request.method} {answer.request.path} -> {answer.status_code}"
    assert declared is not None, f"{where}: no response is declared for this status"
    content = declared.get("content", {})
    mimetype = answer.mimetype
    if answer.request.method == "HEAD" or not content:
        return
    assert mimetype in content, f"{where}: {mimetype} is not declared; {sorted(content)} are"
    if answer.is_streamed or not mimetype.endswith("json"):
        return
    problems = list(validator(app, json.dumps(content[mimetype]["schema"])).iter_errors(json.loads(answer.data)))
    assert not problems, f"{where}: {problems[0].message} at {problems[0].json_path}"


def operation_of(app: APIFlask, method: str, path: str) -> dict[str, Any] | None:
    """The operation of the OpenAPI document behind a request, None for addresses that it does not describe."""
    try:
        rule, _ = app.url_map.bind("localhost").match(path, method, return_rule=True)
    except HTTPException:
        return None
    template = rule.rule
    for converter in ("<string:", "<path:", "<int:", "<"):
        template = template.replace(converter, "{")
    operations = spec_of(app)["paths"].get(template.replace(">", "}"), {})
    return operations.get("get" if method == "HEAD" else method.lower())


@cache
def spec_of(app: APIFlask) -> dict[str, Any]:
    """The application's OpenAPI document."""
    with app.test_request_context():
        return dict(app.spec)


@cache
def validator(app: APIFlask, schema: str) -> Draft202012Validator:
    """A validator of one schema, with the document's components."""
    whole = {**json.loads(schema), "components": spec_of(app)["components"]}
    return Draft202012Validator(whole, format_checker=FormatChecker())
