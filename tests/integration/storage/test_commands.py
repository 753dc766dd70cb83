"""`python -m storage …` as an operator runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from core.settings import Settings
from local_stack.servers.stack import Stack, endpoints_env
from storage.driver.session import StoreConfig, connect
from storage.tables.model_events import Maintenance, maintenance
from tests.keyspaces import Keyspaces


@pytest.fixture
def lent(keyspaces: Keyspaces) -> Iterator[Settings]:
    with keyspaces.lent() as settings:
        yield settings


def storage_command(stack: Stack, keyspace: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | endpoints_env(stack.endpoints()) | {"STATIONWATCH_CASSANDRA_KEYSPACE": keyspace}
    command = [sys.executable, "-m", "storage", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=200, check=False)  # noqa: S603


def test_schema_and_copy_judging_may_be_run_again(stack: Stack, settings: Settings) -> None:
    """Breaks when an operator's second run fails, changes anything, or says something else than what was done."""
    source, target = settings.cassandra_keyspace, f"{settings.cassandra_keyspace}_b"
    first, again = (storage_command(stack, source, "schema") for _ in range(2))
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert "applied 001_readings" in first.stdout
    assert again.stdout == f"keyspace {source}: up to date\n"

    copied = storage_command(stack, source, "copy-judging", source, target)
    assert copied.returncode == 0, copied.stderr
    assert f"{source} -> {target}: 0 artefacts, 0 versions, 0 activations, 0 identities" in copied.stdout


def test_refusals_are_one_sentence_without_a_traceback(stack: Stack, settings: Settings) -> None:
    """Breaks when an operator's mistake ends in a traceback, in success, or creates a keyspace."""
    name = settings.cassandra_keyspace
    for arguments, complaint in (
        (("copy-judging", name, name), "name two keyspaces"),
        (("copy-judging", f"{name}_none", name), "python -m storage schema"),
        (("schema", "--migrations", os.devnull), "no .cql files"),
    ):
        refused = storage_command(stack, name, *arguments)
        assert refused.returncode == 1, refused.stdout
        assert complaint in refused.stderr
        assert "Traceback" not in refused.stderr


def test_the_maintenance_list_is_kept_by_its_command(stack: Stack, lent: Settings) -> None:
    """Breaks when what an operator enters is not what trainings read, cannot be taken back, or a mistake is taken."""
    name = lent.cassandra_keyspace

    def ask(*arguments: str) -> tuple[int, str]:
        done = storage_command(stack, name, "maintenance", *arguments)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout + done.stderr

    assert ask("list") == (0, "no station of station-detector is left out of trainings\n")
    entry = ("station-0007", "2026-11-21T10:00:00Z")
    assert ask("add", *entry, "2026-11-21T12:30:00Z", "--reason", "belt changed")[0] == 0
    replaced = ask("add", *entry, "2026-11-21T14:00:00+01:00", "--reason", "belt and motor")
    line = "station-0007 2026-11-21T10:00:00.000Z 2026-11-21T13:00:00.000Z belt and motor\n"
    assert replaced == (0, f"replaced: {line}")
    assert ask("list") == (0, line)
    with closing(connect(StoreConfig.from_settings(lent))) as store:
        assert maintenance(store, lent.model_name) == [
            Maintenance("station-0007", 1_795_255_200_000, 1_795_266_000_000, "belt and motor")
        ]
    for arguments, complaint in (
        (("add", *entry, "2026-11-21T10:00:00Z"), "is not before END"),
        (("add", *entry, "2026-11-21T10:00:00"), "expected a time with its offset"),
        (("add", "a station", *entry[1:], "2026-11-21T11:00:00Z"), "expected a station id"),
        (("remove", "station-0007", "2026-11-21T10:00:01Z"), "no entry that begins at 2026-11-21T10:00:01.000Z"),
    ):
        status, said = ask(*arguments)
        assert status != 0 and complaint in said
    assert ask("remove", *entry) == (0, f"removed: {line}")
    assert ask("list")[1].startswith("no station")
