"""`Idempotency-Key`: a POST that is sent again, because its answer was lost, does nothing a second time."""

from __future__ import annotations

import hashlib
import re

from flask import g, request

from api.http.problems import refuse
from storage.driver.session import Store
from storage.tables.api_tokens import claim_request

HEADER = "Idempotency-Key"
_KEY = re.compile(r"[\x21-\x7e]{1,128}", re.ASCII)


def claim_key(store: Store, document: bytes) -> str:
    """Claim the request's key, if it has one, for this address and document.

    Returns:
        The key with what keeps callers apart; empty where the request has none.

    Raises:
        HTTPError: 422 a key that is none; 409 one that came with another request before.
    """
    key = request.headers.get(HEADER)
    if key is None:
        return ""
    if not _KEY.fullmatch(key):
        raise refuse(422, "bad-idempotency-key", f"{HEADER}: expected 1 to 128 visible ASCII characters.")
    whose = hashlib.sha256(str(g.get("caller", "")).encode()).hexdigest()[:16]
    fingerprint = hashlib.sha256(b"\n".join([request.method.encode(), request.path.encode(), document])).hexdigest()
    if not claim_request(store, f"{whose}:{key}", fingerprint):
        raise refuse(409, "idempotency-key-reused", f"This {HEADER} came with another request within the last day.")
    return f"{whose}:{key}"
