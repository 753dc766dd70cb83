"""The migrations are readable, safe to repeat, and their numbers leave no gap."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.driver.migrations import MIGRATIONS, SchemaRefused, read_migrations
from storage.driver.session import StoreConfig

CONFIG = StoreConfig(readings_ttl_days=2, anomalies_ttl_days=3)


def test_every_statement_may_run_again() -> None:
    """Breaks when a schema command that died half-way cannot be run again."""
    for migration in read_migrations():
        for statement in migration.statements(CONFIG):
            assert "IF NOT EXISTS" in statement or "IF EXISTS" in statement, statement


def test_settings_are_filled_in() -> None:
    """Breaks when the days to keep do not reach the tables."""
    text = "\n".join(part for migration in read_migrations() for part in migration.statements(CONFIG))
    assert "default_time_to_live = 172800" in text
    assert "default_time_to_live = 259200" in text
    assert "$" not in text


def test_every_table_is_headed_by_its_question() -> None:
    """Breaks when a table comes in that does not say which question it answers."""
    for path in MIGRATIONS.glob("*.cql"):
        lines = path.read_text(encoding="utf-8").splitlines()
        for at, line in enumerate(lines):
            if line.startswith("CREATE TABLE"):
                head = []
                while at and lines[at - 1].startswith("--"):
                    at -= 1
                    head.append(lines[at])
                assert any("?" in words for words in head), f"{path.name}: {line}"


def test_days_to_keep_do_not_change_a_migrations_hash() -> None:
    """Breaks when another time to live makes the schema command refuse the keyspace."""
    first = read_migrations()[0]
    assert first.sha256 == read_migrations()[0].sha256
    assert "${" in first.text


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        ([], "no .cql files"),
        (["001_a.cql", "003_c.cql"], "expected migration 002"),
        (["001_a.cql", "001_b.cql"], "expected migration 002"),
        (["readings.cql"], "expected migration 001"),
    ],
)
def test_a_folder_that_holds_no_clean_sequence_is_refused(tmp_path: Path, names: list[str], complaint: str) -> None:
    """Breaks when a forgotten or doubled number makes two keyspaces differ silently."""
    for name in names:
        (tmp_path / name).write_text("SELECT 1;")
    with pytest.raises(SchemaRefused, match=complaint):
        read_migrations(tmp_path)
