"""gunicorn's worker and logger, bent where this API's contract differs."""

from __future__ import annotations

import json
import logging
import socket
import uuid
from http import HTTPStatus
from typing import Any

from gunicorn import glogging
from gunicorn.http import errors
from gunicorn.util import write_nonblock
from gunicorn.workers.gthread import ThreadWorker

from api.logs import escaped
from api.wire import PROBLEM_MIMETYPE, PROBLEM_TYPE_PREFIX, SECURITY_HEADERS

log = logging.getLogger("api.access")

_STATUSES: dict[type[Exception], HTTPStatus] = {
    errors.LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    errors.LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    errors.ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
    errors.UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
    errors.ParseException: HTTPStatus.BAD_REQUEST,
    errors.ForbiddenProxyRequest: HTTPStatus.FORBIDDEN,
}


class ProblemWorker(ThreadWorker):  # type: ignore[misc]
    """Answers requests that never reach the application with problem documents, not with HTML."""

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Answer a request that could not be parsed, and log it."""
        request_id = uuid.uuid4().hex
        status = next(
            (found for kind, found in _STATUSES.items() if isinstance(exc, kind)), HTTPStatus.INTERNAL_SERVER_ERROR
        )
        trace = exc if status is HTTPStatus.INTERNAL_SERVER_ERROR else None
        log.warning("%s unreadable request: %d %s", request_id, status, escaped(str(exc))[:200], exc_info=trace)
        try:
            write_nonblock(client, problem_bytes(status, request_id))
        except OSError:
            log.debug("%s the client is gone", request_id)


class PlainLogger(glogging.Logger):  # type: ignore[misc]
    """gunicorn's lines through this program's own logging."""

    def setup(self, cfg: Any) -> None:
        """Leave the handlers to `api.logs`."""
        self.cfg = cfg
        self.loglevel = logging.getLogger().level
        self.error_log = logging.getLogger("api.server")
        self.access_log = logging.getLogger("api.server.access")
        self.access_log.disabled = True


def problem_bytes(status: HTTPStatus, request_id: str) -> bytes:
    """A whole HTTP response that closes the connection."""
    kind = status.phrase.lower().replace(" ", "-")
    document = {
        "type": PROBLEM_TYPE_PREFIX + kind,
        "title": status.phrase,
        "status": int(status),
        "detail": "The request could not be read as HTTP within this server's limits.",
        "instance": request_id,
    }
    body = json.dumps(document).encode()
    headers = {
        "Connection": "close",
        "Content-Type": PROBLEM_MIMETYPE,
        "Content-Length": str(len(body)),
        "X-Request-Id": request_id,
        "Cache-Control": "no-store",
        **SECURITY_HEADERS,
    }
    lines = [f"HTTP/1.1 {int(status)} {status.phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
