"""Where Prometheus finds what `run` runs: a file in the format of its file-based discovery."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from core.settings import PREFIX, Settings
from local_stack.errors import StackError
from local_stack.servers.jmx import agent_option
from local_stack.servers.ports import HOST, free_ports, is_taken, owner
from local_stack.supervisor.first_model import simulated_stations
from local_stack.supervisor.run_folder import STOP_SECONDS

# Not the name before `_METRICS_PORT`: what people call it.
_JOBS = {"simulator": "stations"}


def targets_file(home: Path) -> Path:
    """Return where `run` of this home writes its targets."""
    return home / "run" / "targets.json"


def program_ports(settings: Settings) -> dict[str, str]:
    """Return the variables of our programs' ports: those of the settings, or free ones.

    Raises:
        StackError: a port is taken.
    """
    chosen = {}
    for name in ("api_port", *(name for name in Settings.model_fields if _job(name) in STOP_SECONDS)):
        port, variable = getattr(settings, name), PREFIX + name.upper()
        if port and is_taken(port):
            raise StackError(
                f"port {port} is taken by {owner(port)}; stop it, or set {variable} to another port "
                "or to 0 for any free one"
            )
        chosen[variable] = str(port or free_ports(1)[0])
    return chosen


def metrics_env(settings: Settings, env: Mapping[str, str], home: Path, servers: Mapping[str, int]) -> dict[str, str]:
    """Give Spark an agent and a page of its own, and write where everything serves its figures.

    Args:
        settings: of the user.
        env: with the ports of our programs.
        home: `settings.home`, absolute.
        servers: the local servers' names and their agents' ports.

    Returns:
        Variables for the stream.
    """
    ports, ui_port, added = _jobs(settings, env), settings.spark_ui_port, {}
    if settings.server_metrics:
        ports |= servers
        ports["spark"], free = free_ports(2)
        ui_port = ui_port or free
        agent = agent_option("spark", ports["spark"], settings.cache)
        added[f"{PREFIX}SPARK_JAVA_OPTIONS"] = f'"{agent}" {settings.spark_java_options}'.strip()
    write_targets(home, ports, ui_port)
    return {f"{PREFIX}SPARK_UI_PORT": str(ui_port), **added}


def _jobs(settings: Settings, env: Mapping[str, str]) -> dict[str, int]:
    found = {"api": int(env[f"{PREFIX}API_PORT"])}
    for name in Settings.model_fields:
        if _job(name) in STOP_SECONDS:
            found[_job(name)] = int(env[PREFIX + name.upper()])
    if not simulated_stations(settings):
        found.pop("stations", None)
    return found


def _job(setting: str) -> str:
    """Name of the program that a setting gives a port for metrics to; empty for another setting."""
    name = setting.removesuffix("_metrics_port")
    return "" if name == setting else _JOBS.get(name, name)


def write_targets(home: Path, ports: Mapping[str, int], spark_ui_port: int = 0) -> None:
    """Write the targets.

    Args:
        home: `settings.home`.
        ports: job → port on loopback; 0 is left out.
        spark_ui_port: of Spark's Prometheus servlet, 0 for none.
    """
    groups = [_group(job, port) for job, port in ports.items() if port]
    if spark_ui_port:
        groups.append(_group("spark-servlet", spark_ui_port, __metrics_path__="/metrics/prometheus/"))
    path = targets_file(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(groups, indent=1), encoding="utf-8")
    draft.replace(path)


def _group(job: str, port: int, **labels: str) -> dict[str, object]:
    return {"targets": [f"{HOST}:{port}"], "labels": {"job": job, **labels}}
