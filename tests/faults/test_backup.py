"""docs/runbook.md, "Backup and restore": Cassandra's own snapshot brings every row back."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from core.settings import Settings
from local_stack.downloads.jars import jars
from local_stack.downloads.java import find_java
from local_stack.servers.ports import free_ports
from local_stack.servers.stack import Stack
from storage.driver.migrations import apply_schema, read_migrations
from storage.driver.session import StoreConfig
from tests.oracle.tables import scan, session_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_snapshot_brings_every_row_back(tmp_path: Path) -> None:
    """Breaks when the runbook's commands do not restore what was lost."""
    (jmx_port,) = free_ports(1)
    settings = Settings(_env_file=None, home=tmp_path, kafka_port=0, cassandra_port=0, server_metrics=False)
    stack = Stack(settings, java_options={"cassandra": [f"-Dcassandra.jmx.local.port={jmx_port}"]}, say=print)
    stack.servers = {"cassandra": stack.servers["cassandra"]}

    def nodetool(*arguments: str) -> str:
        classes = os.pathsep.join(map(str, jars("cassandra", settings.cache)))
        options = stack.servers["cassandra"].folder / "jvm.options"  # Cassandra's classes need them wherever they run
        command = [
            find_java(),
            f"@{options}",
            "-cp",
            classes,
            "org.apache.cassandra.tools.NodeTool",
            "-p",
            str(jmx_port),
            *arguments,
        ]
        env = {**os.environ, "HOME": str(tmp_path)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    try:
        stack.servers["cassandra"].prepare()
        stack.servers["cassandra"].launch()
        stack.servers["cassandra"].wait_ready()
        port = stack.servers["cassandra"].port
        mine = settings.model_copy(update={"cassandra_port": port})
        apply_schema(StoreConfig.from_settings(mine), read_migrations(), 0, 60.0, print)
        with session_of(mine) as session:
            for number in range(500):
                row = f"({number % 16}, 's-{number}', {number})"
                session.execute(
                    f"INSERT INTO {mine.cassandra_keyspace}.stations (slot, station_id, readings) VALUES {row}"
                )
            before = sorted(map(str, scan(session, mine.cassandra_keyspace, "stations")))
            assert len(before) == 500
            nodetool("snapshot", "-t", "before", mine.cassandra_keyspace)
            session.execute(f"TRUNCATE {mine.cassandra_keyspace}.stations")
            assert scan(session, mine.cassandra_keyspace, "stations") == []
            (snapshot,) = (tmp_path / "stack").rglob("stations-*/snapshots/before")
            copy = tmp_path / "restored" / mine.cassandra_keyspace / "stations"
            shutil.copytree(snapshot, copy)
            nodetool("import", mine.cassandra_keyspace, "stations", str(copy))
            assert sorted(map(str, scan(session, mine.cassandra_keyspace, "stations"))) == before
    finally:
        stack.down()
