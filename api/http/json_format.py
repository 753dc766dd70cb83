"""JSON in and out by msgspec: keys keep their order, and numbers that are not finite leave as null."""

from __future__ import annotations

from typing import Any

import msgspec
from flask.json.provider import JSONProvider


class MsgspecJson(JSONProvider):
    """Flask's JSON, without its sorting of keys and without NaN, which is no JSON."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        """Write one document."""
        return msgspec.json.encode(obj, enc_hook=str).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """Read one document."""
        return msgspec.json.decode(s)
