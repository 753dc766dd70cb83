"""One format for every log of stationwatch: UTC, one line per entry, whatever a client put into it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

# C0 and C1 controls, and the separators some viewers break lines at: a client must not forge lines or move cursors.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
_CONTROLS |= {0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t", 0x2028: "\\u2028", 0x2029: "\\u2029"}


def escaped(text: str) -> str:
    """Return `text` with control characters and line separators written out."""
    return text.translate(_CONTROLS)


class OneLine(logging.Formatter):
    """UTC time, level, logger, text; tracebacks are folded into the line."""

    converter = time.gmtime  # type: ignore[assignment]
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Format and escape."""
        return escaped(super().format(record))


def log_to_stderr(level: str, quiet: Mapping[str, int] | None = None) -> None:
    """Send every log of this process to stderr, in the one format.

    Args:
        level: least level that is shown.
        quiet: libraries that repeat what our own messages say once → least level of theirs that is shown.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine())
    logging.basicConfig(level=level, handlers=[handler])
    for name, least in (quiet or {}).items():
        logging.getLogger(name).setLevel(least)
