"""Who is known: the file of tokens, and that it is read again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from api.security.tokens import KnownTokens, Role, TokensFile, hashed
from core.errors import SettingsError


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def written(path: Path, text: str, turn: int) -> None:
    """Write the file with a time of its own: file systems may not tell two writes of one moment apart."""
    path.write_text(text)
    os.utime(path, (turn, turn))


def test_a_changed_file_is_taken_and_a_broken_one_is_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Breaks when a revoked token works until a restart, or a half written file shuts everybody out."""
    path, clock = tmp_path / "tokens", Clock()
    written(path, f"viewer:{hashed('a')}\noperator:{hashed('a')}\n", 1)
    known = KnownTokens(TokensFile(path, clock), None)
    assert known.role_of(hashed("a")) is Role.OPERATOR
    assert known.role_of(hashed("b")) is None

    written(path, f"admin:{hashed('b')}\n", 2)
    assert known.role_of(hashed("a")) is Role.OPERATOR, "not looked at yet"
    clock.now += 60
    assert known.role_of(hashed("a")) is None
    assert known.role_of(hashed("b")) is Role.ADMIN

    for turn, harm in enumerate((lambda: written(path, "admin:", 3), path.unlink)):
        harm()
        clock.now += 60
        assert known.role_of(hashed("b")) is Role.ADMIN
        assert len([one for one in caplog.records if "still hold" in one.message]) == turn + 1

    written(path, f"viewer:{hashed('c')}\n", 4)
    clock.now += 60
    assert known.role_of(hashed("b")) is None
    assert known.role_of(hashed("c")) is Role.VIEWER


def test_a_file_that_cannot_be_used_is_refused_at_the_start(tmp_path: Path) -> None:
    """Breaks when an API starts open, or shut for all, because of a misspelt path."""
    with pytest.raises(SettingsError, match="API_TOKENS_FILE"):
        TokensFile(tmp_path / "nowhere")
