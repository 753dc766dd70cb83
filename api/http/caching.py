"""Reads that can be asked again cheaply: a strong ETag of the bytes, and 304 for who has them."""

from __future__ import annotations

import hashlib

from flask import Response, request


def revalidated(response: Response) -> Response:
    """Give a whole 200 of a GET its ETag, and answer 304 when the client holds the same. For `after_request`."""
    if request.method not in ("GET", "HEAD") or response.status_code != 200 or response.is_streamed:
        return response
    response.set_etag(hashlib.sha256(response.get_data()).hexdigest()[:32])
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers["Vary"] = "Accept, Authorization"
    return response.make_conditional(request.environ)  # type: ignore[return-value]
