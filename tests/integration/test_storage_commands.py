"""`python -m storage …` as an operator runs it."""

from __future__ import annotations

import os
import subprocess
import sys

from local_stack.stack import Stack, endpoints_env
from settings import Settings


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
