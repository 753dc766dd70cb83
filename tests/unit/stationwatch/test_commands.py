"""Every command and process starts in one way: `--help`, `--version`, unknown arguments, one list of all."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from core.release import release
from stationwatch.__main__ import main
from stationwatch.commands import ENTRIES, load
from tests.paths import ROOT

# Spark starts it with arguments of its own.
NOT_FOR_PEOPLE = {"spark_jobs.driver.worker_daemon"}


def started_modules() -> list[str]:
    """Modules that `python -m` can start, of the product and the benchmarks."""
    rooms = [*{entry.module.partition(".")[0] for entry in ENTRIES.values()}, "stationwatch", "benchmarks"]
    files = (file for room in rooms for file in (ROOT / room).rglob("*.py"))
    started = (file for file in files if '\nif __name__ == "__main__":' in file.read_text())
    names = (file.relative_to(ROOT).with_suffix("").as_posix().removesuffix("/__main__") for file in started)
    return sorted(name.replace("/", ".") for name in names)


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Start a module; a setting that cannot be used shows whether it reads its arguments first."""
    env = os.environ | {"STATIONWATCH_KAFKA_PORT": "none"}
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_every_module_explains_itself() -> None:
    """Breaks when `--help` starts a process or needs settings that can be used."""
    modules = [module for module in started_modules() if module not in NOT_FOR_PEOPLE]
    assert len(modules) > 20
    with ThreadPoolExecutor(2) as pool:
        helped = dict(zip(modules, pool.map(lambda module: run(module, "--help"), modules), strict=True))
    assert {module: done.stderr for module, done in helped.items() if done.returncode != 0} == {}
    assert [module for module, done in helped.items() if not done.stdout.startswith("usage: ")] == []


@pytest.mark.parametrize(
    "module", ["alarms", "iot_simulator", "benchmarks.kernel", "local_stack.downloads.jars_command"]
)
def test_a_module_refuses_arguments_that_it_does_not_know(module: str) -> None:
    """Breaks when a misspelt argument is ignored."""
    done = run(module, "--no-such-argument")
    assert done.returncode == 2, done.stderr
    assert "--no-such-argument" in done.stderr or "are required" in done.stderr


@pytest.mark.parametrize("name", ENTRIES)
def test_a_command_is_listed_as_its_module_declares_it(name: str) -> None:
    """Breaks when the list of commands names one that is not there, or says something else of it than its module."""
    assert load(name).help == ENTRIES[name].help


@pytest.mark.parametrize("name", ENTRIES)
def test_a_command_answers_help_and_version(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Breaks when `stationwatch NAME --help` does something, or a misspelt argument is ignored."""
    for argument, shown in (("--help", f"usage: stationwatch {name} "), ("--version", f"stationwatch {release()}\n")):
        with pytest.raises(SystemExit) as ended:
            main([name, argument])
        assert ended.value.code == 0
        assert capsys.readouterr().out.startswith(shown)
    with pytest.raises(SystemExit) as ended:
        main([name, "--no-such-argument"])
    assert ended.value.code == 2


def test_the_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Breaks when a command is missing in `stationwatch --help`, or a word that is none of them is taken."""
    assert main([]) == 0
    listed = re.findall(r"(?m)^  ([a-z-]+)  ", capsys.readouterr().out)
    assert set(ENTRIES) <= set(listed)
    with pytest.raises(SystemExit) as ended:
        main(["no-such-command"])
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("stationwatch tr", {"train"}),
        ("stationwatch train --re", {"--readings", "--reference-stretches"}),
        ("stationwatch tokens ", {"line", "add", "list", "revoke", "-h", "--help"}),
    ],
)
def test_a_shell_completes_commands_and_their_arguments(line: str, offered: set[str]) -> None:
    """Breaks when the shell offers nothing behind a command, or the names of others."""
    env = os.environ | {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n"}
    # argcomplete answers on descriptor 8.
    command = ["sh", "-c", '"$0" -m stationwatch 8>&1 9>/dev/null', sys.executable]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=True)
    assert {word.strip() for word in done.stdout.splitlines() if word.strip()} == offered
