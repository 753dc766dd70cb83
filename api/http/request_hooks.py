"""What every request and response has: an id, a log line, limits, security headers, strict JSON; and 304 for reads."""

from __future__ import annotations

import hashlib
import logging
import re
import time
import uuid
from typing import Any

import msgspec
from apiflask import APIFlask
from flask import Response, g, request
from flask.json.provider import JSONProvider

from api.http.constants import SECURITY_HEADERS
from api.http.opaque_ids import OpaqueConverter
from api.http.problems import refuse

log = logging.getLogger("api.access")

BODY_BYTES = 1 << 20
URL_BYTES = 2048
HEADER_BYTES = 16 * 1024

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
# ScoreRequest every few seconds by machines; at INFO they would bury the rest.
_QUIET = frozenset({"/livez", "/readyz", "/metrics"})


class MsgspecJson(JSONProvider):
    """Flask's JSON, without its sorting of keys and without NaN, which is no JSON."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        """Write one document."""
        return msgspec.json.encode(obj, enc_hook=str).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """Read one document."""
        return msgspec.json.decode(s)


def register_request_hooks(app: APIFlask) -> None:
    """Give every request of `app` its id, limits, headers and log line. Registered before anything that may refuse."""
    app.json = MsgspecJson(app)
    app.url_map.converters["opaque"] = OpaqueConverter
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


def add_etag(response: Response) -> Response:
    """Give a whole 200 of a GET its ETag, and answer 304 when the client holds the same. For `after_request`."""
    if request.method not in ("GET", "HEAD") or response.status_code != 200 or response.is_streamed:
        return response
    response.set_etag(hashlib.sha256(response.get_data()).hexdigest()[:32])
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers["Vary"] = "Accept, Authorization"
    return response.make_conditional(request.environ)  # type: ignore[return-value]
