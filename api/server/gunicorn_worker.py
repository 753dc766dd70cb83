"""gunicorn's worker and logger, bent where this API's contract differs."""

from __future__ import annotations

import errno
import json
import logging
import socket
import struct
import time
import uuid
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from gunicorn import glogging
from gunicorn.http import errors
from gunicorn.util import write_nonblock
from gunicorn.workers.gthread import ThreadWorker

from api.http.constants import PROBLEM_MIMETYPE, PROBLEM_TYPE_PREFIX, SECURITY_HEADERS
from core.logs import escaped

log = logging.getLogger("api.access")

_STATUSES: dict[type[Exception], HTTPStatus] = {
    errors.LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    errors.LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    errors.ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
    errors.UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
    errors.ParseException: HTTPStatus.BAD_REQUEST,
    errors.ForbiddenProxyRequest: HTTPStatus.FORBIDDEN,
}


REQUEST_SECONDS = 15.0
"""From the first byte of a request to its last: whoever drips it slower is cut off."""

SEND_SECONDS = 10
"""How long a client may read nothing of its response."""

SEND_BYTES = 256 * 1024
"""What the kernel buffers of a response: without a bound a listener that stopped reading takes megabytes."""


class ProblemWorker(ThreadWorker):  # type: ignore[misc]
    """Bounds what a slow client can hold, and answers what is no request with a problem document, not with HTML."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._begun: dict[Any, float] = {}

    def init_process(self) -> None:
        """Set what accepted sockets inherit from the listening ones."""
        for listener in self.sockets:
            listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_SECONDS, 0))
            listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        super().init_process()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Stop taking requests, and let the live listeners go: they would never end by themselves."""
        super().handle_exit(sig, frame)
        self.method_queue.defer(self._let_go)

    def _let_go(self) -> None:
        self.app.end_live()
        for idle in (*self.keepalived_conns, *self.pending_conns):
            idle.timeout = 0.0

    def handle(self, conn: Any) -> Any:
        """Serve one request of a connection, in a thread of the pool."""
        self._begun[conn] = time.monotonic()
        try:
            keep = super().handle(conn)
        finally:
            del self._begun[conn]
        if not keep or not self.alive:
            # Closing lingers for the client's own end. gunicorn would do that in its only loop, for 2 s each.
            conn.close(graceful=self.alive)
            conn.close = _closed
        return keep

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Answer a request that was read; a client that reads nothing of the answer is let go without a trace."""
        try:
            return super().handle_request(req, conn)
        except BlockingIOError as error:
            log.info("a client read nothing for %d s and was dropped", SEND_SECONDS)
            raise BrokenPipeError(errno.EPIPE, "the client reads nothing") from error

    def murder_pending(self) -> None:
        """Once a second: close idle connections, and end the reading from those that drip their request.

        What has been read already is not harmed: a response under way, or a live listener, only writes.
        """
        super().murder_pending()
        due = time.monotonic() - REQUEST_SECONDS
        for conn, begun in list(self._begun.items()):
            if begun < due:
                with suppress(OSError):
                    conn.sock.shutdown(socket.SHUT_RD)

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
        """Leave the handlers to `core.logs`."""
        self.cfg = cfg
        self.loglevel = logging.getLogger().level
        self.error_log = logging.getLogger("api.server")
        self.access_log = logging.getLogger("api.server.access")
        self.access_log.disabled = True


def _closed(graceful: bool = False) -> None:
    """In the place of `close`, once it was called."""


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
