"""How commands start and end: exit statuses, signals, logs, the metrics port."""

from __future__ import annotations

import argparse
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from core.errors import NotFound, SettingsError
from core.logs import OneLine
from core.process import Command, run_command, serve_metrics
from core.settings import Settings
from tests.paths import ROOT

SERVICE = """
import sys, time
from core.process import Command, run_command, start, stop_on_signals

def serve(options):
    start()
    stopping = stop_on_signals()
    print("ready", flush=True)
    stopping.wait(60)
    print("ending", flush=True)
    time.sleep(0.5 if options.quick else 60)
    return 0

def add(parser):
    parser.add_argument("--quick", action="store_true")

sys.exit(run_command(Command("service", "a service", serve, add), "service", "A service."))
"""


def ended(error: Exception, failed: int = 1) -> int:
    """Exit status of a command that raises this."""

    def run(options: argparse.Namespace) -> int:
        raise error

    return run_command(Command("do", "does it", run, failed=failed), "python -m module", "A module.", [])


@pytest.mark.parametrize(
    ("error", "failed", "status", "said"),
    [
        (NotFound("no such station"), 1, 1, "module: no such station\n"),
        (NotFound("no such file"), 2, 2, "module: no such file\n"),
        (SettingsError("settings: 1 problem(s)"), 1, 2, "module: settings: 1 problem(s)\n"),
        (KeyboardInterrupt(), 1, 130, "do: interrupted\n"),
    ],
)
def test_an_end_has_its_status_and_one_sentence(
    error: Exception, failed: int, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks when an expected cause reaches a person as a traceback, or a script cannot tell the causes apart."""
    assert ended(error, failed) == status
    assert capsys.readouterr().err == said


def test_the_handlers_of_whoever_calls_it_come_back() -> None:
    """Breaks when a command that was called inside another program keeps that program's signals."""
    before = signal.getsignal(signal.SIGTERM)
    ended(NotFound("x"))
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("arguments", "signals", "status"),
    [
        (["--quick"], [signal.SIGTERM], 0),
        (["--quick"], [signal.SIGINT], 0),
        (["--quick"], [signal.SIGTERM, signal.SIGTERM], 0),
        ([], [signal.SIGINT, signal.SIGINT], 130),
    ],
)
def test_a_service_ends_its_work_and_a_second_interrupt_cuts_it_short(
    arguments: list[str], signals: list[signal.Signals], status: int, tmp_path: Path
) -> None:
    """Breaks when SIGTERM ends a service amid its work, or Ctrl-C twice does not end it at once."""
    program = tmp_path / "service.py"
    program.write_text(SERVICE)
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(program), *arguments]
    with subprocess.Popen(command, env=env, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        assert service.stdout.readline() == "ready\n"
        service.send_signal(signals[0])
        assert service.stdout.readline() == "ending\n"
        for number in signals[1:]:
            service.send_signal(number)
        assert service.wait(timeout=50) == status


def test_a_signal_that_was_ignored_at_the_start_stays_ignored(tmp_path: Path) -> None:
    """Breaks when a closed terminal ends what was started under `nohup`."""
    program = tmp_path / "service.py"
    program.write_text(SERVICE)
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = ["sh", "-c", 'trap "" HUP; exec "$0" "$1" --quick', sys.executable, str(program)]
    with subprocess.Popen(command, env=env, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        assert service.stdout.readline() == "ready\n"
        service.send_signal(signal.SIGHUP)
        service.send_signal(signal.SIGTERM)
        assert service.stdout.readline() == "ending\n"
        assert service.wait(timeout=50) == 0


def test_a_taken_metrics_port_is_named_with_its_setting() -> None:
    """Breaks when a second process ends with a traceback, or does not say which setting to change."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = Settings(_env_file=None, alarms_metrics_port=port)
        with pytest.raises(SettingsError, match=f"STATIONWATCH_ALARMS_METRICS_PORT = {port} at 127.0.0.1: the port is"):
            serve_metrics(CollectorRegistry(), settings, "alarms_metrics_port")


def test_a_log_line_is_in_utc_whatever_the_zone_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when logs of two processes cannot be put side by side."""
    record = logging.LogRecord("stream", logging.INFO, "file", 1, "first\nsecond", None, None)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        line = OneLine().format(record)
    finally:
        monkeypatch.undo()
        time.tzset()
    hour = time.strftime("%Y-%m-%dT%H", time.gmtime(record.created))
    assert re.fullmatch(rf"{hour}:\d\d:\d\d\.\d{{3}}Z INFO stream: first\\nsecond", line)
