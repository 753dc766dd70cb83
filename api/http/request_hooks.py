"""What every request and response has: an id, a log line, limits, security headers."""

from __future__ import annotations

import logging
import re
import time
import uuid

from apiflask import APIFlask
from flask import Response, g, request

from api.http.constants import SECURITY_HEADERS
from api.http.problems import refuse

log = logging.getLogger("api.access")

BODY_BYTES = 1 << 20
URL_BYTES = 2048
HEADER_BYTES = 16 * 1024

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
# Asked every few seconds by machines; at INFO they would bury the rest.
_QUIET = frozenset({"/livez", "/readyz", "/metrics"})


def register_exchange(app: APIFlask) -> None:
    """Give every exchange of `app` its id, limits, headers and log line. Registered before anything that may refuse."""
    app.config["MAX_CONTENT_LENGTH"] = BODY_BYTES
    app.before_request(_begin)
    app.before_request(_refuse_oversize)
    app.after_request(_finish)


def _begin() -> None:
    given = request.headers.get("X-Request-Id", "")
    g.request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    g.begun = time.perf_counter()


def _refuse_oversize() -> None:
    if len(request.environ.get("RAW_URI", request.full_path)) > URL_BYTES:
        raise refuse(414, "uri-too-long", f"The address is longer than {URL_BYTES} bytes.")
    if sum(len(name) + len(value) for name, value in request.headers.items()) > HEADER_BYTES:
        raise refuse(431, "headers-too-large", f"The request headers are larger than {HEADER_BYTES} bytes.")
    if (request.content_length or 0) > BODY_BYTES:
        raise refuse(
            413, "body-too-large", f"The request body is larger than {BODY_BYTES} bytes.", {"Connection": "close"}
        )


def _finish(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.request_id
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")
    log.log(
        logging.DEBUG if request.path in _QUIET else logging.INFO,
        "%s %s %s %d %.1f ms from %s",
        g.request_id,
        request.method[:16],
        request.full_path.rstrip("?")[:300],
        response.status_code,
        1000 * (time.perf_counter() - g.begun),
        request.remote_addr,
    )
    return response
