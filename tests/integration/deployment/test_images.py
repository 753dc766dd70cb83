"""What docker/Dockerfile does, done in an empty folder: install steps, files and command line of each image."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.settings import PREFIX
from local_stack.servers.ports import free_ports
from tests.oracle.images import copies, entrypoint, stages
from tests.paths import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
# Image → the variable of the port it serves at, and what answers there while Kafka and Cassandra are away.
SERVED = {
    "levels": ("LEVELS_METRICS_PORT", "/metrics"),
    "api": ("API_PORT", "/livez"),
    "alarms": ("ALARMS_METRICS_PORT", "/metrics"),
    "stream": ("STREAM_METRICS_PORT", "/metrics"),
    "retrainer": ("RETRAINER_METRICS_PORT", "/metrics"),
    "mlflow": ("", "/health"),
}
NOT_HERE = ("apt-get", "useradd")  # what only an image can do


def build(image: str, folder: Path) -> dict[str, str]:
    """Do what the Dockerfile does in `folder`; return the environment of its process."""
    steps, place = stages()[image], folder / "opt"
    work = place / "stationwatch"
    work.mkdir(parents=True)
    subprocess.run([sys.executable, "-m", "venv", place / "venv"], check=True)
    env = {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "PYTHON", "VIRTUAL"))}
    env["PATH"] = f"{place / 'venv' / 'bin'}:{env['PATH']}"
    for source, target in copies(steps):
        found = ROOT / source
        (work / target).parent.mkdir(parents=True, exist_ok=True)
        if found.is_dir():
            shutil.copytree(found, work / target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        else:
            shutil.copyfile(found, work / target if not (work / target).is_dir() else work / target / found.name)
    for step in steps:
        if step.word == "RUN" and not step.rest.startswith(NOT_HERE):
            command = step.rest.replace("/opt/jars", str(place / "jars"))
            done = subprocess.run(
                ["/bin/sh", "-c", command], cwd=work, env=env, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, (command, done.stdout, done.stderr)
    return {**env, f"{PREFIX}HOME": str(folder / "home"), "NUMBA_CACHE_DIR": str(folder / "numba")}


@contextmanager
def running(image: str, env: dict[str, str], folder: Path, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        part.replace("/var/lib/stationwatch", str(folder / "home")).replace("0.0.0.0", "127.0.0.1")
        for part in [*entrypoint(stages()[image]), *more]
    ]
    (folder / "home").mkdir(exist_ok=True)
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder / "opt/stationwatch", env=env, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)


@pytest.mark.parametrize("image", SERVED)
def test_a_process_starts_with_what_its_image_holds(image: str, tmp_path: Path) -> None:
    """Breaks when a package, a module or a data file is missing in the image, or its command line is wrong."""
    env, (variable, path) = build(image, tmp_path), SERVED[image]
    port, nobody = free_ports(2)
    env |= {f"{PREFIX}KAFKA_BOOTSTRAP": f"127.0.0.1:{nobody}", f"{PREFIX}CASSANDRA_HOSTS": "127.0.0.1"}
    env |= {f"{PREFIX}CASSANDRA_PORT": str(nobody), f"{PREFIX}API_HOST": "127.0.0.1"}
    more = ["--port", str(port)] if image == "mlflow" else []
    if variable:
        env[f"{PREFIX}{variable}"] = str(port)
    with running(image, env, tmp_path, *more) as process:
        deadline = time.monotonic() + 180
        while not _answers(f"http://127.0.0.1:{port}{path}"):
            assert process.poll() is None, (tmp_path / "output").read_text()
            assert time.monotonic() < deadline, (tmp_path / "output").read_text()
            time.sleep(0.5)


def test_the_simulator_writes_a_history(tmp_path: Path) -> None:
    """Breaks when the simulator's image lacks something of its own."""
    env = build("simulator", tmp_path)
    out = tmp_path / "history.parquet"
    with running("simulator", env, tmp_path, "history", "--days", "0.01", "--out", str(out)) as process:
        assert process.wait(120) == 0, (tmp_path / "output").read_text()
    assert out.stat().st_size > 1000


def test_setup_waits_for_its_servers(tmp_path: Path) -> None:
    """Breaks when the setup image cannot start, or gives up before a broker is there."""
    env = build("setup", tmp_path)
    env[f"{PREFIX}KAFKA_BOOTSTRAP"] = f"127.0.0.1:{free_ports(1)[0]}"
    with running("setup", env, tmp_path) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(20)
        assert "Traceback" not in (tmp_path / "output").read_text()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False
