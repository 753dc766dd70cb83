"""The images and the compose file: well formed, pinned, not root, nothing missing, nothing secret."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from core.settings import PREFIX, Settings
from iot_simulator.replica_slot import claim
from local_stack.downloads.image_packages import ENTRIES, FOLDER, own_modules, packages
from tests.oracle.images import copies, last, stages
from tests.paths import ROOT

DOCKER = ROOT / "docker"
GIVEN = {"KAFKA_CLUSTER_ID": "MkU3OEVBNTcwNTJENDM2Qk", "GRAFANA_ADMIN": "somebody"}


def interpolated(text: str) -> str:
    """As compose does it: `${NAME:-default}`, `${NAME:?message}`."""
    return re.sub(r"\$\{(\w+)(?::-([^}]*))?(?::\?[^}]*?(?:\}'[^}]*)?)?\}", lambda m: GIVEN.get(m[1], m[2] or ""), text)


def compose() -> dict[str, Any]:
    found = yaml.safe_load(interpolated((DOCKER / "compose.yml").read_text()))
    simulator = found["services"]["simulator"]
    simulator["deploy"]["replicas"] = int(simulator["deploy"]["replicas"])
    return dict(found)


def test_compose_is_valid_and_harm_is_noticed() -> None:
    """Breaks when docker compose would refuse the file, or the check would take anything."""
    whole = compose()
    assert set(PyCompose.from_yaml(yaml.safe_dump(whole)).service_names()) == set(whole["services"])
    whole["services"]["api"]["heathcheck"] = {}
    with pytest.raises(ValueError, match="heathcheck"):
        PyCompose.from_yaml(yaml.safe_dump(whole))


def test_the_dockerfile_passes_hadolint() -> None:
    """Breaks when an image is built in a way that hadolint warns of."""
    hadolint = Path(sys.executable).with_name("hadolint")
    command = [hadolint, "--config", DOCKER / ".hadolint.yaml", DOCKER / "Dockerfile"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_images_install_follows_from_the_code() -> None:
    """Breaks when an import was added or dropped and `python -m local_stack.downloads.image_packages` was not run."""
    written = {path.stem: path.read_text().split() for path in FOLDER.glob("*.txt")}
    assert written == packages()
    assert "pyspark" not in written["api"] + written["simulator"] + written["alarms"] + written["levels"]
    assert "mlflow" not in written["api"]


@pytest.mark.parametrize("image", ENTRIES)
def test_an_image_holds_every_module_that_its_process_imports(image: str) -> None:
    """Breaks when a process would meet a ModuleNotFoundError in its image."""
    held = [source for source, _ in copies(stages()[image])]
    for module in own_modules(ENTRIES[image]):
        path = module.replace(".", "/")
        files = [f"{path}.py", f"{path}/__init__.py"]
        assert any(file == one or file.startswith(f"{one}/") for file in files for one in held), (image, module)


@pytest.mark.parametrize("image", [name for name in stages() if name != "base"])
def test_an_image_is_not_root_and_tells_its_health(image: str) -> None:
    """Breaks when a process runs as root, or a base is not pinned."""
    steps = stages()[image]
    assert last(steps, "USER") == "10001"
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm AS base", steps[0].rest)
    assert image == "setup" or any(step.word == "HEALTHCHECK" for step in steps)


def test_services_are_pinned_hardened_and_watched() -> None:
    """Breaks when a service floats, may write its root, gains privileges, or nobody knows how it is."""
    for name, service in compose()["services"].items():
        assert re.search(r":v?\d[\w.]*$", service["image"]), name
        assert "no-new-privileges:true" in service["security_opt"], name
        if not name.startswith(("kafka", "cassandra")):  # their images write beside their data
            assert service["read_only"] is True, name
            assert service["cap_drop"] == ["ALL"], name
        if "build" in service:
            assert service["build"]["target"] in stages(), name
        else:
            assert service["healthcheck"]["test"], name
        for address in service.get("ports", []):
            assert address.startswith("127.0.0.1:"), f"{name}: beyond loopback by choice only"


def test_settings_of_the_services_exist() -> None:
    """Breaks when a variable is misspelt: the process would refuse to start."""
    for name, service in compose()["services"].items():
        for variable in (one for one in service.get("environment", {}) if one.startswith(PREFIX)):
            assert variable.removeprefix(PREFIX).lower() in Settings.model_fields, (name, variable)


def test_three_brokers_keep_every_reading_twice_at_least() -> None:
    """Breaks when one broker's death would lose what was acknowledged."""
    brokers = [one for name, one in compose()["services"].items() if name.startswith("kafka-")]
    assert len(brokers) == 3
    for broker in brokers:
        assert broker["environment"]["KAFKA_DEFAULT_REPLICATION_FACTOR"] == 3
        assert broker["environment"]["KAFKA_MIN_INSYNC_REPLICAS"] == 2
    assert {broker["environment"]["KAFKA_NODE_ID"] for broker in brokers} == {1, 2, 3}


def test_secrets_come_from_files_and_variables_are_listed() -> None:
    """Breaks when a secret stands in a file of the repository, or `.env.example` misses what can be set."""
    text = (DOCKER / "compose.yml").read_text()
    for name, service in compose()["services"].items():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|TOKEN", variable):
                assert str(value).startswith("/run/secrets/"), (name, variable)
    assert all(one["file"].startswith("./secrets/") for one in compose()["secrets"].values())
    listed = set(re.findall(r"(?m)^#?([A-Z_]+)=", (DOCKER / ".env.example").read_text()))
    assert listed == set(re.findall(r"\$\{(\w+)", text))


def test_targets_name_services_that_exist() -> None:
    """Breaks when Prometheus would look for a service under another name."""
    services = set(compose()["services"])
    for path in (DOCKER / "targets").glob("*.json"):
        for group in yaml.safe_load(path.read_text()):
            assert {target.split(":")[0] for target in group["targets"]} <= services


def test_composes_prometheus_differs_by_the_simulator_only() -> None:
    """Breaks when the two configurations drift apart."""
    ours = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text())
    theirs = yaml.safe_load((DOCKER / "prometheus.yml").read_text())
    added = [one for one in theirs["scrape_configs"] if one not in ours["scrape_configs"]]
    assert [one["job_name"] for one in added] == ["stations"]
    theirs["scrape_configs"].remove(added[0])
    assert theirs == ours


def test_replicas_share_the_slices_and_a_spare_takes_over(tmp_path: Path) -> None:
    """Breaks when two replicas send the same stations, a slice is left out, or the dead keep theirs."""
    never = threading.Event()
    first, second = claim(tmp_path, 2, never), claim(tmp_path, 2, never)
    assert first is not None
    assert second is not None
    assert {first.number, second.number} == {0, 1}
    stop, taken = threading.Event(), []
    spare = threading.Thread(target=lambda: taken.append(claim(tmp_path, 2, stop)))
    spare.start()
    first.held.close()
    spare.join(30)
    assert [slot.number for slot in taken if slot] == [first.number]
    stop.set()
    assert claim(tmp_path, 2, stop) is None
    for slot in [second, *taken]:
        if slot:
            slot.held.close()


def test_the_environment_of_a_slot_survives_a_killed_replica(tmp_path: Path) -> None:
    """Breaks when a replica that was killed blocks its slice."""
    code = (
        "import threading, pathlib, sys; from iot_simulator.replica_slot import claim; "
        "s = claim(pathlib.Path(sys.argv[1]), 1, threading.Event()); print(s.number, flush=True); "
        "threading.Event().wait()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, env=dict(os.environ), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"
        stop = threading.Event()
        stop.set()
        assert claim(tmp_path, 1, stop) is None
        process.kill()
        process.wait(30)
    slot = claim(tmp_path, 1, threading.Event())
    assert slot is not None
    assert slot.number == 0
    slot.held.close()
