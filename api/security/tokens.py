"""API tokens at rest: roles and hashes, in a file or in Cassandra."""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import time
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from core.errors import SettingsError, StoreUnavailable
from core.settings import PREFIX, Settings
from storage.driver.session import Store
from storage.tables.api_tokens import token

log = logging.getLogger(__name__)

KNOWN_SECONDS = 10.0
"""How long an answer of Cassandra about a token is believed, and hence how long a revoked one still works, s."""

LOOK_SECONDS = 2.0
"""How often the file is looked at."""

_UNKNOWN_SECONDS = 2.0
_REMEMBERED = 10_000
_LINE = re.compile(r"([a-z_]+):([0-9a-f]{64})", re.ASCII)


class Role(IntEnum):
    """What a caller may do; each role may do what those below it may."""

    VIEWER = 1
    OPERATOR = 2
    DATA_SCIENTIST = 3
    ADMIN = 4


ROLES = ", ".join(role.name.lower() for role in Role)


class Token(NamedTuple):
    """A token at rest."""

    role: Role
    sha256: str


def hashed(presented: str) -> str:
    """The hash by which a token is known. A token is 256 random bits, so that a plain hash of it cannot be undone."""
    return hashlib.sha256(presented.encode("utf-8", "surrogateescape")).hexdigest()


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
            raise SettingsError(
                f"{variable}: line {number}: expected role:sha256, role one of {ROLES}, sha256 64 hex digits"
            )
        tokens.append(Token(Role[match[1].upper()], match[2]))
    if not tokens:
        raise SettingsError(f"{variable}: holds no token; expected lines role:sha256")
    return tokens


class TokensFile:
    """The tokens of a file, read again when it changes: a revoked one stops working without a restart.

    A file that became unreadable is told in the log, and what it said before holds: half a file that somebody is just
    writing shuts nobody out.

    Args:
        path: of the file.
        clock: s; the file is looked at once in `LOOK_SECONDS`.

    Raises:
        SettingsError: it cannot be used.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self._seen = self._state()
        self._roles = _roles(read_tokens(path))
        self._look_at = clock() + LOOK_SECONDS
        self._looking = threading.Lock()

    def role_of(self, sha256: str) -> Role | None:
        """The role of the token with this hash, None for one that the file does not hold."""
        if self._clock() >= self._look_at:
            with self._looking:
                self._look()
        return self._roles.get(sha256)

    def _look(self) -> None:
        self._look_at = self._clock() + LOOK_SECONDS
        seen = self._state()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._roles = _roles(read_tokens(self._path))
            log.info("tokens: %d in the file, which has changed", len(self._roles))
        except SettingsError as error:
            log.error("tokens: %s; the tokens read before still hold", error)

    def _state(self) -> tuple[int, int, int] | None:
        """What is another when the file is; None while there is none."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def _roles(tokens: list[Token]) -> dict[str, Role]:
    found: dict[str, Role] = {}
    for each in tokens:
        found[each.sha256] = max(each.role, found.get(each.sha256, each.role))
    return found


class KnownTokens:
    """Whom this API knows. Looked up by hash, so that how long it takes says nothing about a token.

    Args:
        file: tokens of the file, None where there is none.
        store: the way to the table of tokens, None when it is not asked.
        clock: s, for how long answers are believed.
    """

    def __init__(
        self, file: TokensFile | None, store: Callable[[], Store] | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._file = file
        self._store = store
        self._clock = clock
        self._asked: dict[str, tuple[Role | None, float]] = {}

    def role_of(self, sha256: str) -> Role | None:
        """The role of the token with this hash, None for an unknown one.

        Raises:
            StoreUnavailable: only Cassandra could know.
        """
        listed = self._file.role_of(sha256) if self._file else None
        if listed is not None or self._store is None:
            return listed
        role, until = self._asked.get(sha256, (None, 0.0))
        if self._clock() < until:
            return role
        try:
            found = token(self._store(), sha256)
        except StoreUnavailable:
            if role is not None:
                return role  # Who was known keeps watching while Cassandra is away.
            raise
        role = Role.__members__.get(found.role.upper()) if found else None
        if len(self._asked) >= _REMEMBERED:
            self._asked.clear()
        self._asked[sha256] = (role, self._clock() + (_UNKNOWN_SECONDS if role is None else KNOWN_SECONDS))
        return role


def known_tokens(settings: Settings, store: Callable[[], Store]) -> KnownTokens | None:
    """Whom this API believes, None where it asks for no tokens.

    Raises:
        SettingsError: the tokens file cannot be used.
    """
    path, in_store = settings.api_tokens_file, settings.api_tokens_in_store
    if path is None and not in_store:
        return None
    return KnownTokens(TokensFile(path) if path else None, store if in_store else None)
