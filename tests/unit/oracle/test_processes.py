"""The helper that starts and kills the processes under test."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from tests.oracle.processes import NotInTime, run, running

FAMILY = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; print('child', flush=True); time.sleep(600)"])
stray = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], process_group=0)
print("ready", child.pid, stray.pid, flush=True)
time.sleep(600)
"""


def test_kill_leaves_nobody(tmp_path: Path) -> None:
    """Breaks when a killed driver leaves workers behind, which would go on writing."""
    with running("family", ["-c", FAMILY], {}, tmp_path / "log") as process:
        process.wait_until("ready", lambda: "ready" in process.tail(), 20)
        pids = [
            int(word) for line in process.tail().splitlines() if line.startswith("ready") for word in line.split()[1:]
        ]
        assert len(pids) == 2
        process.kill()
        assert not process.alive()
        assert not [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]


def test_an_early_end_and_a_deadline_are_told_with_the_log(tmp_path: Path) -> None:
    """Breaks when a waiting test cannot say why the process failed it."""
    short = running("short", ["-c", "print('last words')"], {}, tmp_path / "short")
    with short as process, pytest.raises(NotInTime, match="last words"):
        process.wait_until("a miracle", lambda: False, 20)
    with running(
        "slow", ["-c", "print('here', flush=True); import time; time.sleep(60)"], {}, tmp_path / "slow"
    ) as process:
        process.wait_until("output", lambda: "here" in process.tail(), 20)
        with pytest.raises(NotInTime, match="within 0 s"):
            process.wait_until("a miracle", lambda: False, 0.3)


def test_run_refuses_a_failed_command(tmp_path: Path) -> None:
    """Breaks when a failing command passes as done."""
    run("good", ["-c", "pass"], {}, tmp_path / "good", 20)
    with pytest.raises(AssertionError, match="failed with 3"):
        run("bad", ["-c", "raise SystemExit(3)"], {}, tmp_path / "bad", 20)
