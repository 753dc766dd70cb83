"""What the API says about being ready."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from urllib.parse import urlsplit


def api_url(home: Path) -> str:
    """Return where the API of this home listens, empty as long as it does not."""
    try:
        return str(json.loads((home / "api.json").read_text(encoding="utf-8"))["url"])
    except (OSError, ValueError, KeyError):
        return ""


def missing_for_ready(url: str, timeout_seconds: float = 5.0) -> dict[str, str]:
    """Ask `/readyz` and return the checks that fail, with what is wrong; none when it is ready.

    http.client, unlike urllib, heeds no proxy of the environment.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_seconds)
    try:
        connection.request("GET", "/readyz?verbose")
        answer = connection.getresponse()
        checks = json.loads(answer.read()).get("checks", [])
    except (OSError, ValueError, http.client.HTTPException) as error:
        return {"api": f"does not answer: {error}"}
    finally:
        connection.close()
    if answer.status == 200:
        return {}
    failed = {check["name"]: check["detail"] for check in checks if not check["ok"]}
    return failed or {"api": f"answers {answer.status}"}
