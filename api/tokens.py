"""API tokens at rest: roles and hashes, one line each."""

from __future__ import annotations

import hashlib
import hmac
import re
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from models.detection.errors import SettingsError
from settings import PREFIX

_LINE = re.compile(r"([a-z_]+):([0-9a-f]{64})", re.ASCII)


class Role(IntEnum):
    """What a caller may do; each role may do what those below it may."""

    VIEWER = 1
    OPERATOR = 2
    DATA_SCIENTIST = 3
    ADMIN = 4


class Token(NamedTuple):
    """A token at rest."""

    role: Role
    sha256: str


def read_tokens(path: Path) -> list[Token]:
    """Read a tokens file: a line `role:sha256` (hex of the token's UTF-8 bytes) each; blank lines and `#` are skipped.

    Raises:
        SettingsError: unreadable, a bad line (named by number, not by content), or no token at all.
    """
    variable = f"{PREFIX}API_TOKENS_FILE = {str(path)!r}"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{variable}: cannot be read ({type(error).__name__})") from error
    tokens = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        if match is None or match[1].upper() not in Role.__members__:
            roles = ", ".join(role.name.lower() for role in Role)
            raise SettingsError(
                f"{variable}: line {number}: expected role:sha256, role one of {roles}, sha256 64 hex digits"
            )
        tokens.append(Token(Role[match[1].upper()], match[2]))
    if not tokens:
        raise SettingsError(f"{variable}: holds no token; expected lines role:sha256")
    return tokens


def role_of(tokens: list[Token], presented: str) -> Role | None:
    """The highest role of a presented token, or None. Compares with every token, in constant time each."""
    digest = hashlib.sha256(presented.encode("utf-8", "surrogateescape")).hexdigest()
    return max((token.role for token in tokens if hmac.compare_digest(token.sha256, digest)), default=None)
