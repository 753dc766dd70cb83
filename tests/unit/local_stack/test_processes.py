"""Starting, finding again and stopping processes, with `sleep` in a server's place."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from local_stack.servers.processes import RecordedProcess, signals_deferred

DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[RecordedProcess]:
    """A recorded process, killed at the end."""
    mine = RecordedProcess(tmp_path / "process.json", tmp_path / "out")
    yield mine
    mine.kill()


def test_another_program_finds_and_stops_it(process: RecordedProcess, tmp_path: Path) -> None:
    """Breaks when `down` from another terminal does not see what `up` started."""
    pid = process.start(["sleep", "60"], tmp_path)
    other = RecordedProcess(tmp_path / "process.json", tmp_path / "out")
    found = other.find()
    assert found is not None and found.pid == pid
    assert os.getsid(pid) == pid, "it must outlive this terminal"
    other.ask_to_stop()
    assert other.wait_gone(10)
    assert process.find() is None


def test_a_reused_pid_is_not_the_server(process: RecordedProcess, tmp_path: Path) -> None:
    """Breaks when, after a crash or reboot, `down` stops a stranger that has the old pid."""
    pid = process.start(["sleep", "60"], tmp_path)
    record = json.loads((tmp_path / "process.json").read_text())
    (tmp_path / "process.json").write_text(json.dumps({**record, "created": record["created"] - 3600}))
    assert process.find() is None
    process.kill()
    assert psutil.pid_exists(pid)
    (tmp_path / "process.json").write_text(json.dumps(record))


@pytest.mark.parametrize("content", ["", "{", "{}", '{"pid": "x", "created": 1}', '{"pid": 999999999, "created": 1}'])
def test_a_torn_record_counts_as_not_running(process: RecordedProcess, tmp_path: Path, content: str) -> None:
    """Breaks when a full disk at the wrong moment makes every later command fail."""
    (tmp_path / "process.json").write_text(content)
    assert process.find() is None


def test_a_paused_process_stops(process: RecordedProcess, tmp_path: Path) -> None:
    """Breaks when `down` hangs on a server that a fault test has paused."""
    process.start(["sleep", "60"], tmp_path)
    process.signal(signal.SIGSTOP)
    process.ask_to_stop()
    assert process.wait_gone(10)


def test_a_deaf_process_is_killed_after_the_deadline(process: RecordedProcess, tmp_path: Path) -> None:
    """Breaks when `down` waits for ever."""
    process.start([sys.executable, "-c", DEAF], tmp_path)
    found = process.find()
    assert found is not None
    while "deaf" not in (tmp_path / "out").read_text() and found.is_running():
        threading.Event().wait(0.05)
    process.ask_to_stop()
    assert not process.wait_gone(0.3)
    assert process.find() is None


def test_ctrl_c_waits_until_the_process_is_recorded() -> None:
    """Breaks when Ctrl-C between start and record leaves an orphan nobody knows of."""
    reached = False
    # A shell without job control starts what runs in the background with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt), signals_deferred():
        signal.raise_signal(signal.SIGINT)
        reached = True
    assert reached
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)
